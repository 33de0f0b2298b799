#include "kernels/ops/logits.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using LogitsCudaTest = GpuTest;

TEST_F(LogitsCudaTest, GivesTheCpusBitsForwardAndBackward) {
  for (const auto& [T, V] : {std::array<int64_t, 2>{1, 1}, {5, 15}, {300, 1031}, {3, 32768}}) {
    const Buffer logits = normal({T, V}, 1, 8.0f);
    std::vector<int32_t> wanted = random_integers(T, static_cast<uint64_t>(V), 2);
    if (T > 1) wanted[1] = -1;
    const Buffer targets = integers(wanted, {T});
    expect_twins([&](Side& side) {
      const Tensor on = side.in(logits), on_targets = side.plain(targets);
      const Tensor losses = side.out({T}), sums = side.out({T}), d = side.out({T, V});
      const Tensor sum = side.out({1});
      cross_entropy(side.queue,
                    {.logits = on, .targets = on_targets, .losses = losses, .log_sums = sums});
      cross_entropy_backward(
          side.queue,
          {.logits = on, .targets = on_targets, .log_sums = sums, .scale = 0.01f, .dlogits = d});
      sum_losses(side.queue, {.losses = losses, .scale = 1.0 / 3.0, .sum = sum});
      return side.bytes({losses, sums, d, sum});
    });
  }
}

TEST_F(LogitsCudaTest, ATargetOutsideTheVocabularyIsAnError) {
  ThreadPool pool(1);
  Side side(pool, Device::cuda);
  cross_entropy(side.queue, {.logits = side.in(normal({2, 5}, 1)),
                             .targets = side.plain(integers({4, 5}, {2})),
                             .losses = side.out({2}),
                             .log_sums = side.out({2})});

  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }),
            "cross_entropy target 5 at row 1, wanted -1 to 4");
}

}  // namespace
}  // namespace troupe::tests
