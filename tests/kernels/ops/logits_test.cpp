#include "kernels/ops/logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/logits.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Forward, then backward, of T rows.
struct Passes {
  Buffer losses, log_sums, dlogits;

  Passes(Queue& queue, const ConstTensor& logits, const Buffer& targets, float scale)
      : losses(allocate_f32({logits.rows()})),
        log_sums(allocate_f32({logits.rows()})),
        dlogits(allocate_f32({logits.rows(), logits.cols()})) {
    cross_entropy(queue,
                  {.logits = logits, .targets = targets, .losses = losses, .log_sums = log_sums});
    cross_entropy_backward(queue, {.logits = logits,
                                   .targets = targets,
                                   .log_sums = log_sums,
                                   .scale = scale,
                                   .dlogits = dlogits});
    queue.wait();
  }
};

TEST(Logits, LossesAgreeWithTheReferenceForEveryWidth) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t V : {1, 2, 15, 16, 17, 33, 1000}) {
    const Buffer logits = normal({6, V}, static_cast<uint32_t>(V), 5.0f);
    std::vector<int32_t> targets = random_integers(6, static_cast<uint64_t>(V), 2);
    targets[4] = -1;
    const Buffer target_buffer = integers(targets, {6});

    const Passes run(queue, logits, target_buffer, 1.0f);

    const Doubles expected = reference::cross_entropy(to_doubles(logits), targets);
    for (size_t t = 0; t < 6; ++t) {
      EXPECT_NEAR(to_doubles(run.losses)[t], expected[t], 3e-7 * (1 + expected[t])) << "V " << V;
    }
    EXPECT_EQ(to_vector(run.losses)[4], 0.0f);
  }
}

TEST(Logits, BackwardAgreesWithFiniteDifferences) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer logits = normal({4, 37}, 1, 2.0f);
  const std::vector<int32_t> targets{0, 36, -1, 12};
  const Buffer target_buffer = integers(targets, {4});

  const Passes run(queue, logits, target_buffer, 0.25f);

  const Doubles found = to_doubles(run.dlogits), at = to_doubles(logits);
  const Doubles numeric = finite_differences(
      [&](const Doubles& x) {
        return inner_product(reference::cross_entropy(x, targets), {0.25, 0.25, 0.25, 0.25});
      },
      at);
  EXPECT_LT(relative_difference(found, reference::cross_entropy_backward(at, targets, 0.25)), 1e-6);
  EXPECT_LT(relative_difference(found, numeric), 1e-6);
  for (size_t v = 0; v < 37; ++v) EXPECT_EQ(found[2 * 37 + v], 0.0);
}

TEST(Logits, LargeLogitsNeitherOverflowNorLoseTheLoss) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = floats({1e4f, 1e4f, -1e4f, 3e38f, -3e38f, 0.0f}, {2, 3});
  const Buffer targets = integers({1, 0}, {2});

  const Passes run(queue, logits, targets, 1.0f);

  EXPECT_FLOAT_EQ(to_vector(run.losses)[0], std::log(2.0f));
  EXPECT_EQ(to_vector(run.losses)[1], 0.0f);
  EXPECT_THAT(to_vector(run.dlogits),
              testing::Each(testing::Truly([](float x) { return std::isfinite(x); })));
}

TEST(Logits, NotFiniteLogitsShowInTheLoss) {
  ThreadPool pool(1);
  Queue queue(pool);
  for (const float bad : {std::nanf(""), infinity}) {
    for (int64_t at = 0; at < 21; ++at) {
      const Buffer logits = normal({1, 21}, 1);
      values<float>(logits.view)[at] = bad;
      const Buffer targets = integers({3}, {1});

      EXPECT_FALSE(std::isfinite(to_vector(Passes(queue, logits, targets, 1.0f).losses)[0])) << at;
    }
  }
  const Buffer masked = floats({-infinity, 0.0f, 0.0f}, {1, 3}), targets = integers({1}, {1});
  EXPECT_FLOAT_EQ(to_vector(Passes(queue, masked, targets, 1.0f).losses)[0], std::log(2.0f));
}

// Law 1, with logits as a slice of columns.
TEST(Logits, GivesTheSameBitsInAnyArrangement) {
  const int64_t T = 61, V = 2051;
  const Buffer wide = normal({T, V + 9}, 1, 3.0f);
  const ConstTensor logits = columns(ConstTensor(wide), 4, V);
  const Buffer targets = integers(random_integers(T, V, 2), {T});

  const auto all = expect_same_bits_everywhere([&](Queue& queue) {
    const Passes run(queue, logits, targets, 0.01f);
    auto out = to_vector(run.dlogits);
    for (const Buffer& more : {run.losses, run.log_sums}) {
      const auto v = to_vector(more);
      out.insert(out.end(), v.begin(), v.end());
    }
    return out;
  });

  ThreadPool pool(1);
  Queue queue(pool);
  for (const int64_t t : {int64_t{0}, int64_t{30}, T - 1}) {
    const Buffer target = integers({values<int32_t>(targets.view)[t]}, {1});
    const Passes run(queue, row_range(logits, t, 1), target, 0.01f);
    EXPECT_TRUE(
        same_bits(to_vector(run.dlogits), {all.begin() + t * V, all.begin() + (t + 1) * V}));
    EXPECT_TRUE(same_bits(to_vector(run.losses), {all[static_cast<size_t>(T * V + t)]}));
  }
}

TEST(Logits, BackwardMayWriteOverTheLogits) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = normal({3, 50}, 1), targets = integers({0, -1, 49}, {3});
  const Passes run(queue, logits, targets, 2.0f);

  cross_entropy_backward(queue, {.logits = logits,
                                 .targets = targets,
                                 .log_sums = run.log_sums,
                                 .scale = 2.0f,
                                 .dlogits = logits});
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(logits), to_vector(run.dlogits)));
}

TEST(Logits, SumsLossesInRowOrderInDoubles) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer losses = floats({1e8f, 1.0f, 1.0f, 1.0f, -1e8f}, {5}), sum = allocate_f32({1});

  sum_losses(queue, {.losses = losses, .scale = 0.5, .sum = sum});
  queue.wait();
  EXPECT_EQ(to_vector(sum)[0], 1.5f);

  const Buffer none = allocate_f32({0});
  sum_losses(queue, {.losses = none, .scale = 0.5, .sum = sum});
  queue.wait();
  EXPECT_EQ(to_vector(sum)[0], 0.0f);
}

TEST(Logits, ATargetOutsideTheVocabularyIsAnErrorFromTheQueue) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = normal({2, 5}, 1);
  for (const int32_t bad : {5, -2}) {
    const Buffer targets = integers({0, bad}, {2});

    EXPECT_THAT(kernel_error([&] { Passes(queue, logits, targets, 1.0f); }),
                HasSubstr("target " + std::to_string(bad) + " at row 1, wanted -1 to 4"));
  }
}

TEST(Logits, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = normal({2, 5}, 1), one = allocate_f32({1}), two = allocate_f32({2});
  const Buffer targets = integers({0, 1}, {2}), none = allocate_f32({2, 0});

  EXPECT_THAT(kernel_error([&] {
                cross_entropy(
                    queue, {.logits = logits, .targets = targets, .losses = one, .log_sums = two});
              }),
              HasSubstr("cross_entropy losses is [1] f32, wanted [2] f32"));
  EXPECT_THAT(kernel_error([&] {
                cross_entropy(queue,
                              {.logits = none, .targets = targets, .losses = two, .log_sums = two});
              }),
              HasSubstr("no columns"));
  EXPECT_THAT(
      kernel_error([&] {
        cross_entropy_backward(
            queue,
            {.logits = logits, .targets = targets, .log_sums = two, .scale = 1, .dlogits = none});
      }),
      HasSubstr("cross_entropy_backward dlogits is [2, 0] f32, wanted [2, 5] f32"));
  EXPECT_THAT(kernel_error([&] { sum_losses(queue, {.losses = two, .scale = 1, .sum = two}); }),
              HasSubstr("sum_losses sum is [2] f32, wanted [1] f32"));
}

}  // namespace
}  // namespace troupe::tests
