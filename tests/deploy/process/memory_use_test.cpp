#include "deploy/process/memory_use.h"

#include <gtest/gtest.h>

#include <optional>

#include "kernels/buffer.h"

namespace troupe::deploy {
namespace {

constexpr int64_t MiB = 1 << 20;

TEST(MemoryUse, ThePeakIsTheMostOfWhatWasWritten) {
  forget_resident_peak();
  const int64_t before = resident_bytes();
  ASSERT_GT(before, 0);

  for (int i = 0; i < 3; ++i) kernels::allocate_zeros(kernels::DType::f32, {16 * MiB});

  EXPECT_GT(resident_peak_bytes(), before + 60 * MiB);
  EXPECT_LT(resident_peak_bytes(), before + 90 * MiB);
}

TEST(MemoryUse, AForgottenPeakIsWhatIsInMemoryAndKeptBuffersAreNot) {
  kernels::allocate_zeros(kernels::DType::f32, {16 * MiB});

  forget_resident_peak();

  EXPECT_EQ(kernels::buffer_use().kept_bytes, 0);
  EXPECT_LT(resident_peak_bytes(), resident_bytes() + 16 * MiB);
}

}  // namespace
}  // namespace troupe::deploy
