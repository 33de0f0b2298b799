// Random operands of FP8 products in device memory, and how far two results are apart.
#pragma once

#include <cstring>

#include "kernels/cuda/sm90/quantize_sm90.h"
#include "tests/bench/sm90_bench.cuh"

namespace troupe::tests {

inline int64_t up_to(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

/// Random rows, quantised along them.
struct Quantised {
  Quantised(int64_t rows, int64_t cols, uint32_t seed)
      : codes(rows * cols),
        scales(up_to(cols, 128) / 128 * up_to(rows, 4)),
        stride(up_to(rows, 4)) {
    const Device<uint16_t> x = normal_bf16(rows * cols, seed);
    kernels::cuda::quantize_sm90({.x = x.data(),
                                  .x_stride = cols,
                                  .M = rows,
                                  .K = cols,
                                  .power_of_two = false,
                                  .least_amax = 1e-4f,
                                  .rows = codes.data(),
                                  .row_scales = scales.data(),
                                  .row_scales_stride = stride,
                                  .columns = nullptr,
                                  .column_scales = nullptr,
                                  .column_scales_stride = 0,
                                  .groups = 1,
                                  .row_offsets = nullptr,
                                  .block_offsets = nullptr,
                                  .blocks = 0},
                                 nullptr);
    check_cuda(cudaDeviceSynchronize(), "quantise");
  }
  Device<uint8_t> codes;
  Device<float> scales;
  int64_t stride;
};

/// Weights of `groups` random matrices in blocks, one behind the other.
struct Weights {
  Weights(int64_t groups, int64_t N, int64_t K, uint32_t seed)
      : codes(groups * N * K),
        stride(up_to(K, 512) / 128),
        scales(groups * (up_to(N, 128) / 128) * stride) {
    const Device<uint16_t> w = normal_bf16(N * K, seed);
    for (int64_t g = 0; g < groups; ++g) {
      kernels::cuda::quantize_blocks_sm90(
          {.w = w.data(),
           .w_stride = K,
           .groups = 1,
           .N = N,
           .K = K,
           .power_of_two = false,
           .least_amax = 1e-4f,
           .codes = codes.data() + g * N * K,
           .scales = scales.data() + g * (up_to(N, 128) / 128) * stride,
           .scales_stride = stride,
           .transposed = nullptr,
           .transposed_scales = nullptr,
           .transposed_scales_stride = 0},
          nullptr);
    }
    check_cuda(cudaDeviceSynchronize(), "quantise");
  }
  Device<uint8_t> codes;
  int64_t stride;
  Device<float> scales;
};

/// 1 - 2 <x, y> / (|x|^2 + |y|^2) of bfloat16 matrices.
inline double difference(const Device<uint16_t>& x, const Device<uint16_t>& y) {
  std::vector<uint16_t> a(static_cast<size_t>(x.count())), b(a.size());
  check_cuda(cudaMemcpy(a.data(), x.data(), a.size() * 2, cudaMemcpyDeviceToHost), "copy");
  check_cuda(cudaMemcpy(b.data(), y.data(), b.size() * 2, cudaMemcpyDeviceToHost), "copy");
  const auto value = [](uint16_t bits) {
    const uint32_t word = uint32_t{bits} << 16;
    float v;
    std::memcpy(&v, &word, 4);
    return double{v};
  };
  double both = 0, squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    both += value(a[i]) * value(b[i]);
    squares += value(a[i]) * value(a[i]) + value(b[i]) * value(b[i]);
  }
  return 1 - 2 * both / squares;
}

}  // namespace troupe::tests
