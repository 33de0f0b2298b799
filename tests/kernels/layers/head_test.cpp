#include "kernels/layers/head.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/reference/gemm.h"
#include "tests/kernels/reference/layers.h"
#include "tests/kernels/reference/logits.h"

namespace troupe::tests {
namespace {

using namespace kernels;

/// A head, its rows and everything it gives.
struct Head {
  int64_t T, D, V;
  int64_t kept_elements = most_kept_logits;
  Buffer weight = normal({V, D}, 1, 0.5f), x = normal({T, D}, 2);
  Buffer targets = integers(random_integers(T, static_cast<uint64_t>(V), 3), {T});
  Buffer dx = allocate_f32({T, D});
  Sum sum{V * D};
  HeadSaved saved{};
  bool gave_dlogits = false;

  HeadArgs args() const {
    return {.weight = weight, .x = x, .targets = targets, .scale = 0.125f,
            .kept_logits = kept_elements};
  }
  void run(Queue& queue, Scratch& scratch) {
    saved = head_forward(queue, scratch, args());
    const Tensor dlogits = head_backward_inputs(queue, scratch, args(), saved, dx);
    gave_dlogits = dlogits.data != nullptr;
    head_backward_weights(queue, scratch, args(), saved, dlogits, sum.into());
    queue.wait();
  }
  std::vector<int32_t> target_list() const { return vector_of<int32_t>(targets); }
  /// scale * the sum of the losses.
  double reference(const Doubles& w, const Doubles& rows) const {
    double total = 0;
    for (const double loss : reference::cross_entropy(
             reference::linear(rows, w, static_cast<size_t>(D)), target_list())) {
      total += loss;
    }
    return 0.125 * total;
  }
};

TEST(Head, LossesAndGradientsAreThoseOfCrossEntropy) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Head head{.T = 6, .D = 5, .V = 11};
  values<int32_t>(head.targets.view)[2] = -1;

  head.run(queue, scratch);

  const Doubles w = to_doubles(head.weight), x = to_doubles(head.x);
  const Doubles losses = reference::cross_entropy(reference::linear(x, w, 5), head.target_list());
  EXPECT_LT(relative_difference(to_doubles(head.saved.losses), losses), 2e-6);
  EXPECT_EQ(to_vector(head.saved.losses)[2], 0.0f);
  const Doubles of_x =
      finite_differences([&](const Doubles& at) { return head.reference(w, at); }, x);
  const Doubles of_w =
      finite_differences([&](const Doubles& at) { return head.reference(at, x); }, w);
  EXPECT_LT(relative_difference(to_doubles(head.dx), of_x), 1e-5);
  EXPECT_LT(relative_difference(head.sum.values(), of_w), 1e-5);
}

// Law 1: keeping logits or computing them again is a matter of memory alone, over several chunks.
TEST(Head, LogitsThatAreNotKeptGiveTheSameBits) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Head kept{.T = 1100, .D = 3, .V = 7}, again{.T = 1100, .D = 3, .V = 7, .kept_elements = 100};

  kept.run(queue, scratch);
  again.run(queue, scratch);

  EXPECT_TRUE(kept.gave_dlogits);
  EXPECT_FALSE(again.gave_dlogits);
  EXPECT_EQ(again.saved.logits.data, nullptr);
  EXPECT_TRUE(same_bits(to_vector(again.saved.losses), to_vector(kept.saved.losses)));
  EXPECT_TRUE(same_bits(to_vector(again.dx), to_vector(kept.dx)));
  EXPECT_EQ(again.sum.integers(), kept.sum.integers());
}

TEST(Head, OneMatrixOfLogitsStandsAtATimeAndNoChunkOutlivesItsOperation) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Head kept{.T = 1100, .D = 3, .V = 700};
  Head chunked{.T = 1100, .D = 3, .V = 700, .kept_elements = 100};
  const int64_t all = 1100 * 700 * 4, chunk = 512 * 700 * 4, before = buffer_use().live_bytes;

  forget_peak();
  kept.run(queue, scratch);
  EXPECT_LT(buffer_use().peak_bytes - before, all * 5 / 4);
  scratch.clear();
  forget_peak();
  chunked.run(queue, scratch);
  EXPECT_LT(buffer_use().peak_bytes - before, 3 * chunk * 5 / 4);
  EXPECT_LT(buffer_use().live_bytes - before, chunk);
}

TEST(Head, TheWeightsGradientCountsTheRowsOfEveryChunk) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Head head{.T = 1100, .D = 3, .V = 7};

  head.run(queue, scratch);

  const Doubles x = to_doubles(head.x);
  const Doubles dlogits = reference::cross_entropy_backward(
      reference::linear(x, to_doubles(head.weight), 3), head.target_list(), 0.125);
  const Doubles expected = reference::product({.a = dlogits, .b = x, .M = 7, .N = 3, .K = 1100,
                                               .transpose_a = true, .transpose_b = false})
                               .c;
  EXPECT_LT(relative_difference(head.sum.values(), expected), 1e-5);
}

TEST(Head, TheBitsAreTheSameEverywhere) {
  expect_same_bits_everywhere([](Queue& queue) {
    Scratch scratch;
    Head head{.T = 600, .D = 19, .V = 35};
    head.run(queue, scratch);
    std::vector<double> all = head.sum.values();
    for (const double v : to_doubles(head.dx)) all.push_back(v);
    for (const double v : to_doubles(head.saved.losses)) all.push_back(v);
    return all;
  });
}

// Law 1: generation reads the logits that training had, row by row.
TEST(Head, LogitsOfARowDoNotDependOnItsCompany) {
  ThreadPool pool(2);
  Queue queue(pool);
  Scratch scratch;
  Head head{.T = 40, .D = 19, .V = 35};
  head.saved = head_forward(queue, scratch, head.args());  // backward writes in their place
  queue.wait();
  const auto all = to_vector(head.saved.logits);

  for (const int64_t row : {0, 17, 39}) {
    const Buffer logits = allocate_f32({1, head.V});
    head_logits(queue, head.weight, row_range(ConstTensor(head.x), row, 1), logits);
    queue.wait();
    EXPECT_TRUE(same_bits(to_vector(logits),
                          {all.begin() + row * head.V, all.begin() + (row + 1) * head.V}));
  }
}

TEST(Head, NoRowsAreNoError) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  Head head{.T = 0, .D = 3, .V = 4};

  head.run(queue, scratch);

  EXPECT_EQ(head.sum.integers(), std::vector<int64_t>(12, 0));
}

}  // namespace
}  // namespace troupe::tests
