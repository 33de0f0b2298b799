// Runs an operator on the CPU and on the GPU, from the same numbers, and wants the same bits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cuda/device/device.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {

/// Skips its tests, and says why, where there is no GPU.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
  }
};

/// One of the two devices, with what a test gives to it and takes from it.
class Side {
 public:
  Side(kernels::ThreadPool& pool, kernels::Device device) : queue(pool, device) {}

  kernels::Queue queue;

  /// The host's numbers on the device. Rows stand apart, with NaN between them.
  kernels::Tensor in(const kernels::Buffer& host) {
    const kernels::Tensor t = host.view;
    if (t.rank < 2 || t.dtype != kernels::DType::f32) return plain(host);
    const int64_t R = t.rows(), D = t.cols(), padding = 5;
    const kernels::Buffer wide = kernels::allocate_f32({R, D + padding});
    for (int64_t r = 0; r < R; ++r) {
      float* row = kernels::values<float>(wide.view) + r * (D + padding);
      std::memcpy(row, kernels::values<float>(t) + r * t.row_stride,
                  static_cast<size_t>(D) * sizeof(float));
      std::fill(row + D, row + D + padding, std::numeric_limits<float>::quiet_NaN());
    }
    return kernels::columns(plain(wide), 0, D);
  }
  /// Without anything between the rows.
  kernels::Tensor plain(const kernels::Buffer& host) {
    const kernels::Tensor to = memory(host.view.dtype, {host.view.count()});
    kernels::copy_now(host, to);
    kernels::Tensor t = host.view;
    t.data = to.data;
    t.device = to.device;
    return t;
  }
  /// Memory for results; what is not written stays as it is.
  kernels::Tensor out(kernels::DType dtype, std::initializer_list<int64_t> shape) {
    const kernels::Tensor t = memory(dtype, shape);
    const kernels::Buffer host = kernels::allocate(dtype, {t.count()});
    std::memset(host.view.data, 0x5a, static_cast<size_t>(t.count() * kernels::size_of(dtype)));
    kernels::copy_now(host, t);
    return t;
  }
  kernels::Tensor out(std::initializer_list<int64_t> shape) {
    return out(kernels::DType::f32, shape);
  }

  /// The bytes of results, when the queue has passed; every NaN as the same one.
  std::vector<uint8_t> bytes(std::initializer_list<kernels::Tensor> results) {
    queue.wait();
    std::vector<uint8_t> all;
    for (const kernels::Tensor& t : results) {
      const kernels::Buffer host = kernels::on_host(t);
      for (int64_t r = 0; r < t.rows(); ++r) {
        const auto* row = static_cast<const uint8_t*>(host.view.data) +
                          r * host.view.row_stride * kernels::size_of(t.dtype);
        for (int64_t i = 0; i < t.cols(); ++i) add(row, i, t.dtype, all);
      }
    }
    return all;
  }

 private:
  kernels::Tensor memory(kernels::DType dtype, std::initializer_list<int64_t> shape) {
    kept_.push_back(kernels::allocate(queue.device(), dtype, shape));
    return kept_.back();
  }

  static void add(const uint8_t* row, int64_t i, kernels::DType dtype, std::vector<uint8_t>& all) {
    const auto size = static_cast<size_t>(kernels::size_of(dtype));
    uint8_t element[8];
    std::memcpy(element, row + static_cast<size_t>(i) * size, size);
    if (dtype == kernels::DType::f32) {
      float value;
      std::memcpy(&value, element, sizeof value);
      if (std::isnan(value)) value = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(element, &value, sizeof value);
    }
    all.insert(all.end(), element, element + size);
  }

  std::vector<kernels::Buffer> kept_;
};

/// Calls run(side), which gives bytes, on both devices, and expects them to be equal. Returns them.
template <class F>
std::vector<uint8_t> expect_twins(F run, const std::string& what = "") {
  kernels::ThreadPool pool(4);
  Side host(pool, kernels::Device::cpu), gpu(pool, kernels::Device::cuda);
  const std::vector<uint8_t> wanted = run(host), found = run(gpu);
  EXPECT_EQ(wanted.size(), found.size()) << what;
  size_t different = 0, first = wanted.size();
  for (size_t i = 0; i < std::min(wanted.size(), found.size()); ++i) {
    if (wanted[i] == found[i]) continue;
    if (different++ == 0) first = i;
  }
  EXPECT_EQ(different, 0u) << what << ": the first of the bytes that differ is number " << first
                           << " of " << wanted.size();
  return found;
}

}  // namespace troupe::tests
