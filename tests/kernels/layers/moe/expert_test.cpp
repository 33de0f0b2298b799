#include "kernels/layers/moe/expert.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/layers/moe/moe_gate.h"
#include "kernels/ops/permute.h"
#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t tokens = 6;

/// The routed part of an MoE layer: gate, dispatch to holders, experts, combine, and backward.
class Routed {
 public:
  explicit Routed(std::vector<int> owner)
      : owner_(std::move(owner)), holders_(*std::max_element(owner_.begin(), owner_.end()) + 1) {
    for (uint32_t e = 0; e < 4; ++e) {
      experts.push_back(ffn_weights(shape.hidden, shape.expert_width, 60 + 3 * e));
      expert_sums.push_back(sums_for(experts.back()));
    }
  }

  void forward(Queue& queue) {
    gate_ = moe_gate_forward(queue, scratch_, {.shape = &shape, .weight = gate_weight, .bias = bias,
                                               .x = x});
    plan_ = plan_dispatch(queue, scratch_, gate_.expert_ids, owner_, shape.groups);
    queue.wait();
    plan_.sources = dispatch_sources(plan_, owner_, holders_);
    std::vector<ConstTensor> rows;
    for (int holder = 0; holder < holders_; ++holder) {
      const auto& part = plan_.sources[static_cast<size_t>(holder)];
      const Tensor in = scratch_.f32({part.rows(), shape.hidden});
      gather_rows(queue, {.x = x, .index = part.index, .y = in});
      args_.push_back({.weights = {}, .offsets = part.offsets, .x = in});
      for (const size_t e : held(holder)) args_.back().weights.push_back(views(experts[e]));
      saved_.push_back(experts_forward(queue, scratch_, args_.back()));
      rows.push_back(saved_.back().y);
    }
    combine_rows(queue, {.rows = rows, .source = plan_.source, .row = plan_.row,
                         .group = plan_.group, .weight = gate_.weights, .y = y});
    queue.wait();
  }

  void backward(Queue& queue) {
    std::vector<ConstTensor> dx_rows, dweight_rows;
    for (int holder = 0; holder < holders_; ++holder) {
      const size_t h = static_cast<size_t>(holder);
      const auto& part = plan_.sources[h];
      const int64_t R = part.rows();
      const Tensor dy_rows = scratch_.f32({R, shape.hidden}), w = scratch_.f32({R});
      const Tensor dx_part =
          in_place ? saved_[h].y : scratch_.f32({R, shape.hidden});
      const Tensor dw = scratch_.f32({R});
      gather_rows(queue, {.x = dy, .index = part.index, .y = dy_rows});
      gather_rows(queue, {.x = reshape(ConstTensor(gate_.weights), {tokens * shape.top_k, 1}),
                          .index = part.slot, .y = reshape(w, {R, 1})});
      experts_backward_inputs(queue, scratch_, args_[h], saved_[h],
                              {.dy = dy_rows, .weights = w, .dx = dx_part, .dweights = dw});
      std::vector<FfnGradients> into;
      for (const size_t e : held(holder)) into.push_back(gradients(expert_sums[e]));
      experts_backward_weights(queue, scratch_, args_[h], saved_[h], into);
      dx_rows.push_back(dx_part);
      dweight_rows.push_back(reshape(ConstTensor(dw), {R, 1}));
    }
    queue.wait();
    finish_backward(queue, dx_rows, dweight_rows);
  }

  /// <dy, routed(x)>.
  double reference(const Doubles& gate, const std::vector<FfnTensors<Doubles>>& w,
                   const Doubles& input) const {
    return inner_product(to_doubles(dy), reference::routed_experts(
                                             shape, gate, to_doubles(bias), w, input));
  }
  std::vector<FfnTensors<Doubles>> expert_doubles() {
    std::vector<FfnTensors<Doubles>> out;
    for (auto& e : experts) out.push_back(doubles(e));
    return out;
  }

  ModelShape shape = [] {
    ModelShape s = small_shape();
    s.top_groups = 2;
    return s;
  }();
  Buffer gate_weight = normal({shape.experts, shape.hidden}, 80, 0.5f);
  Buffer bias = normal({shape.experts}, 81, 0.1f);
  Buffer x = normal({tokens, shape.hidden}, 82), dy = normal({tokens, shape.hidden}, 83);
  Buffer y = allocate_f32({tokens, shape.hidden}), dx = allocate_f32({tokens, shape.hidden});
  bool in_place = false;  // dx in that of the saved outputs
  std::vector<FfnTensors<Buffer>> experts;
  std::vector<FfnTensors<Sum>> expert_sums;
  Sum gate_sum{gate_weight.view.count()};

 private:
  std::vector<size_t> held(int holder) const {
    std::vector<size_t> out;
    for (size_t e = 0; e < owner_.size(); ++e) {
      if (owner_[e] == holder) out.push_back(e);
    }
    return out;
  }

  void finish_backward(Queue& queue, const std::vector<ConstTensor>& dx_rows,
                       const std::vector<ConstTensor>& dweight_rows) {
    const Tensor through_gate = scratch_.f32({tokens, shape.hidden});
    const Tensor dweights = scratch_.f32({tokens, shape.top_k});
    for (int64_t i = 0; i < tokens * shape.top_k; ++i) {
      const auto source = static_cast<size_t>(values<int32_t>(plan_.source)[i]);
      values<float>(dweights)[i] =
          values<float>(dweight_rows[source])[values<int32_t>(plan_.row)[i]];
    }
    combine_rows(queue, {.rows = dx_rows, .source = plan_.source, .row = plan_.row,
                         .group = plan_.group, .weight = {}, .y = dx});
    const GateBackwardArgs args{.shape = &shape, .weight = gate_weight, .x = x,
                                .dweights = dweights, .dscores = {}, .dx = through_gate};
    const Tensor dlogits = moe_gate_backward_inputs(queue, scratch_, args, gate_);
    moe_gate_backward_weights(queue, scratch_, args, dlogits, gate_sum.into());
    add(queue, {.a = dx, .b = through_gate, .y = dx});
    queue.wait();
  }

  std::vector<int> owner_;
  int holders_;
  Scratch scratch_;
  GateSaved gate_;
  Dispatch plan_;
  std::vector<ExpertsArgs> args_;
  std::vector<ExpertsSaved> saved_;
};

TEST(Experts, GateAndExpertsAreTheReportsSum) {
  ThreadPool pool(2);
  Queue queue(pool);
  Routed routed({0, 0, 0, 0});

  routed.forward(queue);

  const Doubles expected = reference::routed_experts(
      routed.shape, to_doubles(routed.gate_weight), to_doubles(routed.bias),
      routed.expert_doubles(), to_doubles(routed.x));
  EXPECT_LT(relative_difference(to_doubles(routed.y), expected), 3e-6);
}

TEST(Experts, BackwardGivesTheDerivativesOfInputGateAndExperts) {
  ThreadPool pool(2);
  Queue queue(pool);
  Routed routed({0, 0, 0, 0});

  routed.forward(queue);
  routed.backward(queue);

  const Doubles gate = to_doubles(routed.gate_weight), x = to_doubles(routed.x);
  const auto experts = routed.expert_doubles();
  const Doubles of_x = finite_differences(
      [&](const Doubles& at) { return routed.reference(gate, experts, at); }, x);
  const Doubles of_gate = finite_differences(
      [&](const Doubles& at) { return routed.reference(at, experts, x); }, gate);
  EXPECT_LT(relative_difference(to_doubles(routed.dx), of_x), 1e-5);
  EXPECT_LT(relative_difference(routed.gate_sum.values(), of_gate), 1e-5);
  for (size_t e = 0; e < experts.size(); ++e) {
    expect_derivatives(routed.expert_sums[e], experts[e], [&](const FfnTensors<Doubles>& w) {
      auto all = experts;
      all[e] = w;
      return routed.reference(gate, all, x);
    });
  }
}

// Law 2: who holds which experts does not show, empty holders included.
// Of holders, and of memory.
TEST(Experts, PlacementDoesNotShow) {
  const auto outcome = [](const std::vector<int>& owner, bool in_place = false) {
    ThreadPool pool(2);
    Queue queue(pool);
    Routed routed(owner);
    routed.in_place = in_place;
    routed.forward(queue);
    routed.backward(queue);
    std::vector<double> all = to_doubles(routed.y);
    for (const double v : to_doubles(routed.dx)) all.push_back(v);
    for (const double v : routed.gate_sum.values()) all.push_back(v);
    for (auto& expert : routed.expert_sums) {
      for (const auto& [name, sum] : members(expert)) {
        for (const double v : sum->values()) all.push_back(v);
      }
    }
    return all;
  };

  const auto together = outcome({0, 0, 0, 0});

  EXPECT_EQ(outcome({0, 0, 0, 0}, true), together);

  EXPECT_EQ(outcome({0, 1, 2, 3}), together);
  EXPECT_EQ(outcome({1, 0, 1, 0}), together);
  EXPECT_EQ(outcome({2, 2, 0, 2}), together);
}

TEST(Experts, TheBitsAreTheSameEverywhere) {
  expect_same_bits_everywhere([](Queue& queue) {
    Routed routed({0, 1, 0, 1});
    routed.forward(queue);
    routed.backward(queue);
    std::vector<float> all = to_vector(routed.y);
    for (const float v : to_vector(routed.dx)) all.push_back(v);
    return all;
  });
}

}  // namespace
}  // namespace troupe::tests
