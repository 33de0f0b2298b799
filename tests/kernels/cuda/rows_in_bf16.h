// Rows of bf16 on the GPU for tests of operators of the arithmetic sm_90a.
#pragma once

#include <memory>
#include <vector>

#include "kernels/layers/gradient.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {

/// A queue of the arithmetic sm_90a and memory for what it reads.
class Sm90Test : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    queue =
        std::make_unique<kernels::Queue>(pool_, kernels::Device::cuda, kernels::Arithmetic::sm_90a);
    scratch = kernels::Scratch(kernels::Device::cuda);
  }

  /// The host's numbers as f32 or, rounded, as bf16.
  kernels::Tensor on_gpu(const kernels::Buffer& host, kernels::DType type) {
    const kernels::Tensor t = host.view;
    const kernels::Tensor to = scratch.of(type, {t.rows(), t.cols()});
    if (type != kernels::DType::bf16) {
      kernels::copy_now(host, to);
    } else {
      const kernels::Buffer narrow = kernels::allocate(type, {t.rows(), t.cols()});
      for (int64_t i = 0; i < t.count(); ++i) {
        kernels::values<uint16_t>(narrow.view)[i] =
            kernels::f32_to_bf16(kernels::values<float>(t)[i]);
      }
      kernels::copy_now(narrow, to);
    }
    kernels::Tensor shaped = t;
    shaped.data = to.data;
    shaped.device = to.device;
    shaped.dtype = type;
    return shaped;
  }
  std::vector<float> numbers(const kernels::Tensor& t) {
    queue->wait();
    const kernels::Buffer host = kernels::on_host(t);
    std::vector<float> out(static_cast<size_t>(t.count()));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = t.dtype == kernels::DType::bf16
                   ? kernels::bf16_to_f32(kernels::values<uint16_t>(host.view)[i])
                   : kernels::values<float>(host.view)[i];
    }
    return out;
  }
  static std::vector<float> rounded(std::vector<float> numbers) {
    for (float& x : numbers) x = kernels::bf16_to_f32(kernels::f32_to_bf16(x));
    return numbers;
  }
  static kernels::Buffer rounded(const kernels::Buffer& host) {
    const kernels::Buffer out = kernels::allocate_f32({host.view.rows(), host.view.cols()});
    for (int64_t i = 0; i < host.view.count(); ++i) {
      kernels::values<float>(out.view)[i] =
          kernels::bf16_to_f32(kernels::f32_to_bf16(kernels::values<float>(host.view)[i]));
    }
    return out;
  }

  kernels::ThreadPool pool_{2};
  std::unique_ptr<kernels::Queue> queue;
  kernels::Scratch scratch;
};

}  // namespace troupe::tests
