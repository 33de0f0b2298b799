// How far FP8 products of Hopper's tensor cores are from the exact ones, with and without promotion
// of their sums: operands of one scale each, so that both can be had of the same codes. Prints, for
// depths up to 16384, the error of the sums beside exact products of the same codes. Usage:
// promotion_bench [JSON FILE]
#include <cmath>

#include "kernels/cuda/gemm/store_tile.cuh"
#include "kernels/cuda/sm90/tma.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"
#include "kernels/ops/quantize.h"
#include "tests/bench/sm90_bench.cuh"

namespace troupe::tests {
namespace {

using namespace kernels::cuda;

constexpr int tile_rows = 64, tile_cols = 128, tile_depth = 128;
constexpr int shared_bytes = (tile_rows + tile_cols) * tile_depth;

/// Copies rows of 128 bytes as the copy engine's 128-byte swizzle would write them.
__device__ void load_rows(uint8_t* to, const uint8_t* from, int rows, int64_t stride) {
  for (int i = threadIdx.x; i < rows * 8; i += blockDim.x) {
    const int row = i / 8, chunk = i % 8;
    *reinterpret_cast<uint4*>(to + row * 128 + (chunk ^ row % 8) * 16) =
        *reinterpret_cast<const uint4*>(from + row * stride + chunk * 16);
  }
}

/// c [M, N] = a [M, K] times the transpose of b [N, K]; sums of 128 products are added in FP32, or
/// one accumulator of the tensor cores takes all of K.
template <bool kPromoted>
__global__ void __launch_bounds__(128)
    multiply(const uint8_t* a, const uint8_t* b, int M, int N, int K, float* c) {
  extern __shared__ __align__(1024) uint8_t memory[];
  uint8_t* const b_memory = memory + tile_rows * tile_depth;
  const int row = blockIdx.x * tile_rows, col = blockIdx.y * tile_cols;
  const uint64_t a_tile = inner_tile(shared_address(memory));
  const uint64_t b_tile = inner_tile(shared_address(b_memory));
  float total[64], partial[64];
  for (int i = 0; i < 64; ++i) total[i] = 0.0f;
  for (int k = 0; k < K; k += tile_depth) {
    __syncthreads();
    load_rows(memory, a + int64_t{row} * K + k, tile_rows, K);
    load_rows(b_memory, b + int64_t{col} * K + k, tile_cols, K);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    begin_products();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      ProductE4m3<128>::add(kPromoted ? partial : total, a_tile + 2 * step, b_tile + 2 * step,
                            step > 0 || (!kPromoted && k > 0));
    }
    commit_products();
    wait_products<0>();
    pin(total);
    if constexpr (kPromoted) {
      pin(partial);
      for (int i = 0; i < 64; ++i) total[i] += partial[i];
    }
  }
  store_f32<128>(total, c, {N, row, M, col, N});
}

struct Operand {
  std::vector<uint8_t> codes;
  std::vector<float> values;
};

/// About normal numbers, or their absolute values, of one scale.
Operand operand(int64_t count, uint32_t seed, bool is_positive) {
  const Device<uint16_t> numbers = normal_bf16(count, seed);
  std::vector<uint16_t> bits(static_cast<size_t>(count));
  check_cuda(cudaMemcpy(bits.data(), numbers.data(), bits.size() * 2, cudaMemcpyDeviceToHost),
             "copy");
  Operand out;
  for (const uint16_t one : bits) {
    const float value = kernels::bf16_to_f32(one) * 100.0f;  // of at most 448
    out.codes.push_back(kernels::f32_to_f8_e4m3(is_positive ? std::fabs(value) : value));
    out.values.push_back(kernels::f8_e4m3_to_f32(out.codes.back()));
  }
  return out;
}

struct Errors {
  double relative;  ///< norm of the difference to the norm of the exact product
  double largest;   ///< greatest difference to the exact products' root mean square
  double most;      ///< greatest |difference / exact|, of sums that do not cancel
};

template <bool kPromoted>
std::vector<float> product(const Device<uint8_t>& a, const Device<uint8_t>& b, int M, int N, int K) {
  const Device<float> c(int64_t{M} * N);
  multiply<kPromoted><<<dim3(M / tile_rows, N / tile_cols), 128, shared_bytes>>>(
      a.data(), b.data(), M, N, K, c.data());
  check_cuda(cudaGetLastError(), "product");
  std::vector<float> out(static_cast<size_t>(c.count()));
  check_cuda(cudaMemcpy(out.data(), c.data(), out.size() * 4, cudaMemcpyDeviceToHost), "copy");
  return out;
}

Errors errors(const std::vector<float>& found, const std::vector<double>& exact) {
  double squares = 0, wanted = 0, largest = 0, most = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double difference = std::fabs(found[i] - exact[i]);
    squares += difference * difference;
    wanted += exact[i] * exact[i];
    largest = std::max(largest, difference);
    if (exact[i] != 0) most = std::max(most, difference / std::fabs(exact[i]));
  }
  const double size = std::sqrt(wanted / static_cast<double>(exact.size()));
  return {std::sqrt(squares / wanted), largest / size, most};
}

void run(const char* json) {
  constexpr int M = 128, N = 128;
  cudaDeviceProp device;
  check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  FILE* const file = json != nullptr ? std::fopen(json, "w") : nullptr;
  std::printf("%s: E4M3 products of %d x %d x K beside the exact ones of the same codes\n",
              device.name, M, N);
  std::printf("%-10s%7s%12s%15s%15s%15s\n", "numbers", "K", "promoted", "norm of error",
              "largest/rms", "largest/exact");
  if (file != nullptr) std::fprintf(file, "{\"device\": \"%s\", \"rows\": [", device.name);
  const char* separator = "";
  for (const bool is_positive : {false, true}) {
    for (const int K : {1024, 4096, 16384}) {
      const Operand a = operand(int64_t{M} * K, 1, is_positive);
      const Operand b = operand(int64_t{N} * K, 2, is_positive);
      std::vector<double> exact;
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t n = 0; n < N; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < K; ++k) {
            sum += double{a.values[static_cast<size_t>(m * K + k)]} *
                   b.values[static_cast<size_t>(n * K + k)];
          }
          exact.push_back(sum);
        }
      }
      const Device<uint8_t> a_codes(a.codes), b_codes(b.codes);
      for (const bool is_promoted : {true, false}) {
        const Errors its = errors(is_promoted ? product<true>(a_codes, b_codes, M, N, K)
                                              : product<false>(a_codes, b_codes, M, N, K),
                                  exact);
        const char* const numbers = is_positive ? "positive" : "normal";
        std::printf("%-10s%7d%12s%14.4f%%%14.4f%%", numbers, K, is_promoted ? "every 128" : "never",
                    100 * its.relative, 100 * its.largest);
        is_positive ? std::printf("%14.4f%%\n", 100 * its.most) : std::printf("%15s\n", "cancels");
        if (file == nullptr) continue;
        std::fprintf(file,
                     "%s\n {\"numbers\": \"%s\", \"K\": %d, \"promoted\": %s, \"norm\": %.6g, "
                     "\"largest_to_rms\": %.6g, \"largest_to_exact\": %.6g}",
                     separator, numbers, K, is_promoted ? "true" : "false", its.relative,
                     its.largest, its.most);
        separator = ",";
      }
    }
  }
  if (file != nullptr) {
    std::fprintf(file, "\n]}\n");
    std::fclose(file);
  }
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) { troupe::tests::run(argc > 1 ? argv[1] : nullptr); }
