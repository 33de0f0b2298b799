#include "deploy/bench/kernels/cuda/timer.h"

#include <gtest/gtest.h>

#include "deploy/bench/kernels/cuda/fill.h"

namespace troupe::deploy::kernel_bench {
namespace {

class TimerTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
    kernels::cuda::open();
  }
};

Call copy_of(const DeviceArray<uint8_t>& from, const DeviceArray<uint8_t>& to, int64_t bytes) {
  return on_stream([=](cudaStream_t stream) {
    expect_cuda(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream),
                "a copy");
  });
}

TEST_F(TimerTest, CopiesTakeAsLongAsTheirBytesAndNothingTakesNothing) {
  constexpr int64_t bytes = int64_t{1} << 30;
  const auto from = DeviceArray<uint8_t>::zeros(bytes), to = DeviceArray<uint8_t>::zeros(bytes);
  Timer timer(5);

  const std::vector<double> us =
      timer.medians({copy_of(from, to, bytes), copy_of(from, to, bytes / 4), [](kernels::Queue&) {}});

  EXPECT_NEAR(us[0] / us[1], 4, 0.5);
  EXPECT_LT(us[2], 50);  // the flush is not counted
}

TEST_F(TimerTest, WhatACallThrowsIsThrownAndTheNextIsMeasured) {
  Timer timer(2);

  EXPECT_THROW(timer.medians({on_stream([](cudaStream_t) { throw std::runtime_error("the peer failed"); })}),
               std::runtime_error);
  EXPECT_THROW(timer.medians({[](kernels::Queue&) { throw kernels::KernelError("a wrong shape"); }}),
               kernels::KernelError);
  EXPECT_EQ(timer.medians({[](kernels::Queue&) {}, [](kernels::Queue&) {}}).size(), 2u);
}

TEST_F(TimerTest, RandomNumbersAreAboutNormal) {
  const DeviceArray<float> numbers(100000);
  fill_random(numbers.data(), numbers.count(), 7);

  double sum = 0, squares = 0;
  for (const float x : numbers.part(0, numbers.count())) {
    sum += static_cast<double>(x);
    squares += static_cast<double>(x) * static_cast<double>(x);
  }

  EXPECT_NEAR(sum / 1e5, 0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1, 0.02);
}

}  // namespace
}  // namespace troupe::deploy::kernel_bench
