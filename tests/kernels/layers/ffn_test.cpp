#include "kernels/layers/ffn.h"

#include <gtest/gtest.h>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/layers.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t hidden = 7, width = 5;

/// Groups of rows with a network each: the second has none.
struct Groups {
  std::vector<FfnTensors<Buffer>> buffers{ffn_weights(hidden, width, 20),
                                          ffn_weights(hidden, width, 30),
                                          ffn_weights(hidden, width, 40)};
  std::vector<int64_t> offsets{0, 3, 3, 8};
  Buffer x = normal({8, hidden}, 1), dy = normal({8, hidden}, 2);
  Buffer y = allocate_f32({8, hidden}), dx = allocate_f32({8, hidden});

  std::vector<FfnWeights> weights() {
    std::vector<FfnWeights> out;
    for (auto& b : buffers) out.push_back(views(b));
    return out;
  }
  FfnForwardArgs forward_args() {
    return {.weights = weights(), .offsets = offsets, .x = x, .y = y};
  }
  FfnBackwardArgs backward_args() {
    return {.weights = weights(), .offsets = offsets, .x = x, .dy = dy, .dx = dx};
  }
  /// Rows of group g.
  Doubles rows(const Doubles& all, size_t g) const {
    return {all.begin() + offsets[g] * hidden, all.begin() + offsets[g + 1] * hidden};
  }
  /// <dy, ffn(x)> over all groups, from weights of each.
  double reference(const std::vector<FfnTensors<Doubles>>& w, const Doubles& input) const {
    double sum = 0;
    for (size_t g = 0; g < w.size(); ++g) {
      sum += inner_product(rows(to_doubles(dy), g),
                           reference::ffn(w[g], rows(input, g), static_cast<size_t>(hidden)));
    }
    return sum;
  }
};

TEST(Ffn, EachGroupGoesThroughItsNetwork) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Groups groups;

  ffn_forward(queue, scratch, groups.forward_args());
  queue.wait();

  for (const size_t g : {0, 2}) {
    const Doubles expected =
        reference::ffn(doubles(groups.buffers[g]), groups.rows(to_doubles(groups.x), g),
                       static_cast<size_t>(hidden));
    EXPECT_LT(relative_difference(groups.rows(to_doubles(groups.y), g), expected), 2e-6);
  }
}

TEST(Ffn, BackwardGivesTheDerivativesOfInputAndWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Groups groups;
  std::vector<FfnTensors<Sum>> sums;
  std::vector<FfnGradients> into;
  std::vector<FfnTensors<Doubles>> weights;
  for (auto& b : groups.buffers) {
    sums.push_back(sums_for(b));
    into.push_back(gradients(sums.back()));
    weights.push_back(doubles(b));
  }

  const FfnSaved saved = ffn_forward(queue, scratch, groups.forward_args());
  const auto args = groups.backward_args();
  const FfnDeltas deltas = ffn_backward_inputs(queue, scratch, args, saved);
  ffn_backward_weights(queue, scratch, args, saved, deltas, into);
  queue.wait();

  const Doubles expected = finite_differences(
      [&](const Doubles& x) { return groups.reference(weights, x); }, to_doubles(groups.x));
  EXPECT_LT(relative_difference(to_doubles(groups.dx), expected), 1e-5);
  for (const size_t g : {0, 2}) {
    expect_derivatives(sums[g], weights[g], [&](const FfnTensors<Doubles>& w) {
      auto all = weights;
      all[g] = w;
      return groups.reference(all, to_doubles(groups.x));
    });
  }
  const auto empty = sums[1].up.integers();
  EXPECT_EQ(empty, std::vector<int64_t>(empty.size(), 0)) << "a group without rows";
}

// Law 1: a row alone has the bits it has among others.
TEST(Ffn, RowsHaveTheSameBitsAloneAndInAnyCompany) {
  ThreadPool pool(2);
  Queue queue(pool);
  Groups groups;

  const auto all = expect_same_bits_everywhere([&](Queue& other) {
    Scratch scratch;
    ffn_forward(other, scratch, groups.forward_args());
    other.wait();
    return to_vector(groups.y);
  });

  for (const int64_t row : {0, 4, 7}) {
    Scratch scratch;
    const Buffer y = allocate_f32({1, hidden});
    ffn_forward(queue, scratch, {.weights = {groups.weights()[row < 3 ? 0 : 2]},
                                 .offsets = {0, 1},
                                 .x = row_range(ConstTensor(groups.x), row, 1),
                                 .y = y});
    queue.wait();
    EXPECT_TRUE(same_bits(to_vector(y), {all.begin() + row * hidden,
                                         all.begin() + (row + 1) * hidden}));
  }
}

TEST(Ffn, NoRowsAtAllAreNoError) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  Groups groups;
  Sum up(groups.buffers[0].up.view.count());
  FfnGradients wanted{};
  wanted.up = up.into();
  const Buffer none = allocate_f32({0, hidden});
  const FfnForwardArgs forward{
      .weights = {groups.weights()[0]}, .offsets = {0, 0}, .x = none, .y = none};
  const FfnBackwardArgs backward{.weights = forward.weights, .offsets = {0, 0}, .x = none,
                                 .dy = none, .dx = none};

  const FfnSaved saved = ffn_forward(queue, scratch, forward);
  const FfnDeltas deltas = ffn_backward_inputs(queue, scratch, backward, saved);
  ffn_backward_weights(queue, scratch, backward, saved, deltas, {wanted});
  queue.wait();

  EXPECT_EQ(up.integers(), std::vector<int64_t>(up.integers().size(), 0));
}

}  // namespace
}  // namespace troupe::tests
