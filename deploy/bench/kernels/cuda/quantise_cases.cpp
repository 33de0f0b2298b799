// From bfloat16 to E4M3 codes and their scales: activations, weights, and what SwiGLU gives.
#include <array>
#include <utility>

#include "deploy/bench/kernels/cuda/operands.h"
#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/cuda/sm90/swiglu_codes_sm90.h"

namespace troupe::deploy::kernel_bench {
namespace {

using namespace kernels::cuda;

constexpr int64_t columns = 7168;  // of the model
constexpr std::array<int64_t, 2> row_counts{8192, 32768};

struct Tiles {
  bool has_columns, power_of_two;
};

Case tiles(int64_t M, const Tiles& tiles) {
  struct Kept {
    DeviceArray<uint16_t> x;
    DeviceArray<uint8_t> codes, turned;
    DeviceArray<float> scales, turned_scales;
  };
  const int64_t K = columns, count = M * K;
  const auto its = std::make_shared<const Kept>(
      Kept{random_array<uint16_t>(count, 1), DeviceArray<uint8_t>(count), DeviceArray<uint8_t>(count),
           DeviceArray<float>(count / 128), DeviceArray<float>(count / 128)});
  const QuantizeSm90Args args{.x = its->x.data(),
                              .x_stride = K,
                              .M = M,
                              .K = K,
                              .power_of_two = tiles.power_of_two,
                              .least_amax = least_amax,
                              .rows = its->codes.data(),
                              .row_scales = its->scales.data(),
                              .row_scales_stride = M,
                              .columns = tiles.has_columns ? its->turned.data() : nullptr,
                              .column_scales = tiles.has_columns ? its->turned_scales.data() : nullptr,
                              .column_scales_stride = K};
  const double codes = 1 + 4.0 / 128;  // of an element and its part of a scale
  return {.shape = by({M, K}),
          .flop = 0,
          .bytes = product({M, K}) * (2 + (tiles.has_columns ? 2 : 1) * codes),
          .ours = on_stream([its, args](cudaStream_t stream) { quantize_sm90(args, stream); })};
}

/// Weights of N rows, as they are and transposed.
Case blocks(int64_t N) {
  struct Kept {
    DeviceArray<uint16_t> w;
    DeviceArray<uint8_t> codes, transposed;
    DeviceArray<float> scales, transposed_scales;
  };
  const int64_t K = columns, count = N * K, scales = count / (128 * 128);
  const auto its = std::make_shared<const Kept>(
      Kept{random_array<uint16_t>(count, 1), DeviceArray<uint8_t>(count), DeviceArray<uint8_t>(count),
           DeviceArray<float>(scales), DeviceArray<float>(scales)});
  const QuantizeBlocksSm90Args args{.w = its->w.data(),
                                    .w_stride = K,
                                    .groups = 1,
                                    .N = N,
                                    .K = K,
                                    .power_of_two = false,
                                    .least_amax = least_amax,
                                    .codes = its->codes.data(),
                                    .scales = its->scales.data(),
                                    .scales_stride = K / 128,
                                    .transposed = its->transposed.data(),
                                    .transposed_scales = its->transposed_scales.data(),
                                    .transposed_scales_stride = N / 128};
  return {.shape = by({N, K}),
          .flop = 0,
          .bytes = 4 * product({N, K}) + 8 * static_cast<double>(scales),
          .ours = on_stream([its, args](cudaStream_t stream) { quantize_blocks_sm90(args, stream); })};
}

Case swiglu(int64_t R, int64_t F) {
  struct Kept {
    DeviceArray<uint16_t> both;
    DeviceArray<uint8_t> kept, activated;
    DeviceArray<float> kept_scales, activated_scales;
  };
  const auto its = std::make_shared<const Kept>(
      Kept{random_array<uint16_t>(R * 2 * F, 1), DeviceArray<uint8_t>(R * 2 * F), DeviceArray<uint8_t>(R * F),
           DeviceArray<float>(R * 2 * F / 128), DeviceArray<float>(R * F / 128)});
  const SwigluCodesSm90Args args{.both = its->both.data(),
                                 .R = R,
                                 .F = F,
                                 .least_amax = least_amax,
                                 .kept = {its->kept.data(), its->kept_scales.data(), R},
                                 .activated = {its->activated.data(), its->activated_scales.data(), R}};
  return {.shape = by({R, F}),
          .flop = 0,
          .bytes = product({R, F}) * (4 + 3 * (1 + 4.0 / 128)),
          .ours = on_stream([its, args](cudaStream_t stream) { swiglu_codes_sm90(args, stream); })};
}

}  // namespace

void add_quantise_cases(std::vector<CaseOf>& cases) {
  constexpr std::array<std::pair<const char*, Tiles>, 3> ways{{{"quantise rows", {false, false}},
                                                               {"quantise both", {true, false}},
                                                               {"quantise both, powers of 2", {true, true}}}};
  for (const auto& [family, way] : ways) {
    for (const int64_t M : row_counts) {
      cases.push_back({family, [M, way = way](const PeerLibrary*) { return tiles(M, way); }});
    }
  }
  for (const int64_t N : row_counts) {
    cases.push_back({"quantise blocks", [N](const PeerLibrary*) { return blocks(N); }});
  }
  for (const int64_t R : row_counts) {
    cases.push_back({"SwiGLU and quantise", [R](const PeerLibrary*) { return swiglu(R, 2048); }});
  }
}

}  // namespace troupe::deploy::kernel_bench
