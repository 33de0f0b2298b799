#include "deploy/bench/kernels/gpu_meter.h"

#include <gtest/gtest.h>

namespace troupe::deploy::kernel_bench {
namespace {

// With NVML as without it.
TEST(GpuMeter, AGpuThatIsNotThereSaysNothing) {
  const GpuReading reading = GpuMeter("ffff:ff:1f.0").read();

  EXPECT_FALSE(reading.sm_mhz);
  EXPECT_FALSE(reading.watts);
}

}  // namespace
}  // namespace troupe::deploy::kernel_bench
