#include "kernels/ops/mxfp8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/ops/quantize.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

std::vector<float> rounded(const ConstTensor& x) {
  return expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer wide = normal({x.rows(), x.cols() + 3}, 99);
    const Tensor y = columns(Tensor(wide), 1, x.cols());
    round_mxfp8(queue, {.x = x, .y = y});
    queue.wait();
    return to_vector(y);
  });
}

/// The specification as loops, over the codec.
std::vector<float> reference(const std::vector<float>& x, int64_t K) {
  std::vector<float> y;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(K)) {
    for (int64_t first = 0; first < K; first += 32) {
      const auto begin = row + static_cast<size_t>(first);
      const auto end = row + static_cast<size_t>(std::min(K, first + 32));
      float amax = 0.0f;
      for (size_t i = begin; i < end; ++i) amax = std::fmax(amax, std::abs(x[i]));
      const int exponent = amax == 0.0f ? -127 : std::max(-127, std::ilogb(amax) - 8);
      const float scale = std::ldexp(1.0f, exponent);
      for (size_t i = begin; i < end; ++i) {
        y.push_back(f8_e4m3_to_f32(f32_to_f8_e4m3(x[i] / scale)) * scale);
      }
    }
  }
  return y;
}

TEST(RoundMxfp8, FollowsTheSpecificationEverywhere) {
  const int64_t shapes[][2] = {{1, 1}, {7, 32}, {5, 100}, {300, 33}, {3, 4}};
  for (const auto& [T, K] : shapes) {
    const Buffer wide = normal({T, K + 2}, 3);
    float* p = values<float>(wide.view);
    for (int64_t i = 0; i < wide.view.count(); ++i) {
      p[i] *= std::ldexp(1.0f, static_cast<int>(i * 37 % 270) - 150);  // down to subnormal numbers
    }
    const ConstTensor x = columns(ConstTensor(wide), 1, K);

    EXPECT_TRUE(same_bits(rounded(x), reference(to_vector(x), K))) << T << " x " << K;
  }
}

TEST(RoundMxfp8, CutsWhatThePowerOfTwoLeavesAbove448) {
  const Buffer x = floats({511.0f, 448.0f, 256.0f, -460.0f}, {1, 4});
  EXPECT_EQ(rounded(x), (std::vector<float>{448.0f, 448.0f, 256.0f, -448.0f}));
}

TEST(RoundMxfp8, ANanOrAnInfinityMakesItsTileNanAndNoOther) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const Buffer x = normal({2, 80}, 4);
    const auto clean = rounded(x);
    values<float>(x.view)[40] = bad;

    const auto found = rounded(x);

    for (size_t i = 0; i < found.size(); ++i) {
      if (i >= 32 && i < 64) {
        EXPECT_TRUE(std::isnan(found[i])) << i;
      } else {
        EXPECT_EQ(found[i], clean[i]) << i;
      }
    }
  }
}

TEST(RoundMxfp8, TakesNothingAndRefusesOtherShapes) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer none = allocate_f32({0, 32}), x = allocate_f32({2, 32}), y = allocate_f32({2, 31});
  EXPECT_NO_THROW(round_mxfp8(queue, {.x = none, .y = none}));
  EXPECT_THAT(kernel_error([&] { round_mxfp8(queue, {.x = x, .y = y}); }),
              HasSubstr("round_mxfp8 y is [2, 31] f32, wanted [2, 32] f32"));
}

}  // namespace
}  // namespace troupe::tests
