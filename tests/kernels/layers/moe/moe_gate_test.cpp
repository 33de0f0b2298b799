#include "kernels/layers/moe/moe_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t tokens = 9;

struct Gate {
  explicit Gate(bool normalize) : shape(small_shape()) {
    shape.normalize_top_k = normalize;
    shape.top_groups = 2;
  }
  ModelShape shape;
  Buffer weight = normal({shape.experts, shape.hidden}, 50, 0.5f);
  Buffer bias = normal({shape.experts}, 51, 0.1f);
  Buffer x = normal({tokens, shape.hidden}, 52), dweights = normal({tokens, shape.top_k}, 53);
  Buffer dx = allocate_f32({tokens, shape.hidden});

  GateForwardArgs forward_args() {
    return {.shape = &shape, .weight = weight, .bias = bias, .x = x};
  }
  GateBackwardArgs backward_args() {
    return {.shape = &shape, .weight = weight, .x = x, .dweights = dweights, .dscores = {},
            .dx = dx};
  }
  std::vector<reference::Choice> reference(const Doubles& w, const Doubles& input) const {
    std::vector<reference::Choice> out;
    const auto D = static_cast<long>(shape.hidden);
    for (long t = 0; t < tokens; ++t) {
      const Doubles row(input.begin() + t * D, input.begin() + (t + 1) * D);
      out.push_back(reference::choose(shape, w, to_doubles(bias), row));
    }
    return out;
  }
  /// <dweights, weights>: what backward differentiates.
  double number(const Doubles& w, const Doubles& input) const {
    Doubles weights;
    for (const auto& choice : reference(w, input)) {
      weights.insert(weights.end(), choice.weights.begin(), choice.weights.end());
    }
    return inner_product(to_doubles(dweights), weights);
  }
};

class MoeGate : public testing::TestWithParam<bool> {};

TEST_P(MoeGate, ChoosesAndWeighsAsTheReportSays) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Gate gate(GetParam());

  const GateSaved saved = moe_gate_forward(queue, scratch, gate.forward_args());
  queue.wait();

  std::vector<int32_t> ids;
  Doubles weights, scores;
  for (const auto& c : gate.reference(to_doubles(gate.weight), to_doubles(gate.x))) {
    ids.insert(ids.end(), c.ids.begin(), c.ids.end());
    weights.insert(weights.end(), c.weights.begin(), c.weights.end());
    scores.insert(scores.end(), c.scores.begin(), c.scores.end());
  }
  EXPECT_EQ(vector_of<int32_t>(saved.expert_ids), ids);
  EXPECT_LT(relative_difference(to_doubles(saved.weights), weights), 2e-6);
  EXPECT_LT(relative_difference(to_doubles(saved.scores), scores), 2e-6);
}

TEST_P(MoeGate, BackwardGivesTheDerivativesOfInputAndWeight) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Gate gate(GetParam());
  Sum sum(gate.weight.view.count());

  const GateSaved saved = moe_gate_forward(queue, scratch, gate.forward_args());
  const auto args = gate.backward_args();
  const Tensor dlogits = moe_gate_backward_inputs(queue, scratch, args, saved);
  moe_gate_backward_weights(queue, scratch, args, dlogits, sum.into());
  queue.wait();

  const Doubles w = to_doubles(gate.weight), x = to_doubles(gate.x);
  const Doubles of_x =
      finite_differences([&](const Doubles& at) { return gate.number(w, at); }, x);
  const Doubles of_w =
      finite_differences([&](const Doubles& at) { return gate.number(at, x); }, w);
  EXPECT_LT(relative_difference(to_doubles(gate.dx), of_x), 1e-5);
  EXPECT_LT(relative_difference(sum.values(), of_w), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Normalised, MoeGate, testing::Bool());

class PlanDispatch : public testing::Test {
 protected:
  Dispatch plan(const std::vector<int32_t>& ids, int64_t per_token, const std::vector<int>& owner,
                int sources, int64_t groups) {
    const int64_t T = static_cast<int64_t>(ids.size()) / per_token;
    ids_ = integers(ids, {T, per_token});
    ThreadPool pool(1);
    Queue queue(pool);
    Dispatch plan = plan_dispatch(queue, scratch_, ids_, owner, groups);
    queue.wait();
    plan.sources = dispatch_sources(plan, owner, sources);
    return plan;
  }
  static std::vector<int32_t> numbers(const Tensor& t) {
    return {values<int32_t>(t), values<int32_t>(t) + t.count()};
  }

 private:
  Scratch scratch_;
  Buffer ids_;
};

TEST_F(PlanDispatch, SortsRowsByExpertThenByToken) {
  // Experts 0 and 1 are group 0, experts 2 and 3 group 1; expert 2 gets nothing.
  const Dispatch d = plan({0, 3, 0, 1, 1, 3}, 2, {0, 0, 0, 0}, 1, 2);

  EXPECT_THAT(d.sources[0].offsets, ElementsAre(0, 2, 4, 4, 6));
  EXPECT_THAT(numbers(d.sources[0].index), ElementsAre(0, 1, 1, 2, 0, 2));
  EXPECT_THAT(numbers(d.sources[0].slot), ElementsAre(0, 2, 3, 4, 1, 5));
  EXPECT_THAT(numbers(d.row), ElementsAre(0, 4, 1, 2, 3, 5));
  EXPECT_THAT(numbers(d.source), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(numbers(d.group), ElementsAre(0, 1, 0, 0, 0, 1));
}

TEST_F(PlanDispatch, AHolderGetsTheRowsOfItsExpertsInIdOrder) {
  // Experts 3 and 1 live at holder 0, experts 0 and 2 at holder 2; holder 1 has none.
  const Dispatch d = plan({0, 3, 1, 2, 2, 3}, 2, {2, 0, 2, 0}, 3, 4);

  EXPECT_THAT(d.sources[0].offsets, ElementsAre(0, 1, 3));
  EXPECT_THAT(numbers(d.sources[0].index), ElementsAre(1, 0, 2));
  EXPECT_THAT(d.sources[1].offsets, ElementsAre(0));
  EXPECT_THAT(numbers(d.sources[1].index), IsEmpty());
  EXPECT_THAT(d.sources[2].offsets, ElementsAre(0, 1, 3));
  EXPECT_THAT(numbers(d.sources[2].slot), ElementsAre(0, 3, 4));
  EXPECT_THAT(numbers(d.source), ElementsAre(2, 0, 0, 2, 2, 0));
  EXPECT_THAT(numbers(d.row), ElementsAre(0, 1, 0, 1, 2, 2));
}

TEST_F(PlanDispatch, AllRowsMayGoToOneExpert) {
  const Dispatch d = plan({2, 2, 2}, 1, {0, 1, 1}, 2, 1);

  EXPECT_EQ(d.sources[0].rows(), 0);
  EXPECT_THAT(d.sources[1].offsets, ElementsAre(0, 0, 3));
  EXPECT_THAT(numbers(d.sources[1].index), ElementsAre(0, 1, 2));
}

TEST_F(PlanDispatch, NoTokensGiveEmptyParts) {
  const Dispatch d = plan({}, 2, {0, 1}, 2, 1);

  EXPECT_THAT(d.sources[0].offsets, ElementsAre(0, 0));
  EXPECT_EQ(d.sources[1].rows(), 0);
}

}  // namespace
}  // namespace troupe::tests
