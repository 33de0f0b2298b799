// What tests of layers on tensor cores share: numbers of the host on a device, and back.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/device/device.h"
#include "kernels/layers/gradient.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {

/// A test that is skipped, by name, where there is no GPU.
class LayerOnGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
  }
};

inline kernels::Tensor on_device(kernels::Device device, kernels::Scratch& scratch,
                                 const kernels::Buffer& host) {
  if (device == kernels::Device::cpu) return scratch.keep(host);
  const kernels::Tensor t = scratch.of(host.view.dtype, {host.view.rows(), host.view.cols()});
  kernels::copy_now(host, t);
  kernels::Tensor shaped = host.view;
  shaped.data = t.data;
  shaped.device = t.device;
  return shaped;
}

/// Of i64, f32 or bf16.
inline Doubles doubles_of(const kernels::Tensor& t) {
  const kernels::Buffer host = kernels::on_host(t);
  Doubles out(static_cast<size_t>(t.count()));
  for (size_t i = 0; i < out.size(); ++i) {
    if (t.dtype == kernels::DType::i64) {
      out[i] = static_cast<double>(kernels::values<int64_t>(host.view)[i]);
    } else if (t.dtype == kernels::DType::bf16) {
      out[i] = kernels::bf16_to_f32(kernels::values<uint16_t>(host.view)[i]);
    } else {
      out[i] = kernels::values<float>(host.view)[i];
    }
  }
  return out;
}

/// Expects what a recipe loses against `exact`, FP32 on the CPU, to be about what it loses on the
/// CPU: no more than half as much again, and not so little that it is another recipe.
inline void expect_like_loss(const Doubles& found, const Doubles& on_cpu, const Doubles& exact,
                             const std::string& what) {
  const double loss = relative_difference(on_cpu, exact);
  EXPECT_LT(relative_difference(found, exact), 1.5 * loss) << what;
  EXPECT_GT(relative_difference(found, exact), 0.3 * loss) << what;
}

}  // namespace troupe::tests
