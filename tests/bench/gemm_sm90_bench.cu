// Hopper's products and quantisation beside cuBLASLt and the copy rate, each pair measured in turns
// on random data after a flush of L2. Prints a table, and writes it as JSON.
// Usage: gemm_sm90_bench [ROUNDS] [JSON FILE]
#include <array>
#include <cmath>

#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"
#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"
#include "tests/bench/cublaslt_peer.h"
#include "tests/bench/sm90_operands.cuh"

namespace troupe::tests {
namespace {

using namespace kernels::cuda;

int rounds = 30;
double copy_bytes_a_second = 0;

struct Row {
  std::string family, shape;
  double ours_us, peer_us;  ///< medians; peer_us 0: no peer
  double flop, bytes;       ///< of one call; 0: not what bounds it
};
std::vector<Row> table;

void report(const Row& row) {
  table.push_back(row);
  std::printf("%-22s %-28s %9.1f", row.family.c_str(), row.shape.c_str(), row.ours_us);
  if (row.peer_us > 0) {
    std::printf(" %9.1f %6.3f", row.peer_us, row.peer_us / row.ours_us);
  } else {
    std::printf(" %9s %6s", "-", "-");
  }
  if (row.flop > 0) std::printf(" %6.0f TFLOPS", row.flop / row.ours_us * 1e-6);
  if (row.bytes > 0) {
    const double rate = row.bytes / row.ours_us * 1e6;
    std::printf(" %5.2f TB/s, %2.0f %% of the copy rate", rate * 1e-12,
                100 * rate / copy_bytes_a_second);
  }
  std::printf("\n");
  std::fflush(stdout);
}

std::string sizes(std::initializer_list<int64_t> numbers) {
  std::string out;
  for (const int64_t n : numbers) out += (out.empty() ? "" : " x ") + std::to_string(n);
  return out;
}

void dense_fp8(const std::string& family, int64_t M, int64_t N, int64_t K, bool bound_by_bytes) {
  const Quantised a(M, K, 1);
  const Weights b(1, N, K, 2);
  const Device<uint16_t> ours(M * N), theirs(M * N);
  const Device<uint8_t> workspace(gemm_fp8_workspace_bytes(K) + 16);
  const LtPeer peer({.a = a.codes.data(),
                     .b = b.codes.data(),
                     .c = theirs.data(),
                     .M = M,
                     .N = N,
                     .K = K,
                     .transpose_a = false,
                     .transpose_b = true,
                     .operands = CUDA_R_8F_E4M3,
                     .result = CUDA_R_16BF,
                     .a_scales = a.scales.data(),
                     .b_scales = b.scales.data()});
  const GemmFp8WgmmaArgs args{.a = a.codes.data(),
                              .a_scales = a.scales.data(),
                              .a_scales_stride = a.stride,
                              .b = b.codes.data(),
                              .b_scales = b.scales.data(),
                              .b_scales_stride = b.stride,
                              .c = ours.data(),
                              .c_stride = N,
                              .M = M,
                              .N = N,
                              .K = K,
                              .workspace = workspace.data()};
  const auto times = measure({{"ours", [&](cudaStream_t s) { gemm_fp8_wgmma(args, s); }},
                              {"cuBLASLt", [&](cudaStream_t s) { peer.run(s); }}},
                             rounds);
  const bool offered = peer.offered();
  if (offered && difference(ours, theirs) > 1e-6) {
    std::fprintf(stderr, "differs from cuBLASLt by %g\n", difference(ours, theirs));
    std::exit(1);
  }
  const double bytes = static_cast<double>(N * K + M * K + 2 * M * N);
  report({family, sizes({M, N, K}), times[0], offered ? times[1] : 0,
          2.0 * static_cast<double>(M) * static_cast<double>(N * K), bound_by_bytes ? bytes : 0});
}

void dense_bf16(const std::string& family, bool transpose_a, bool transpose_b, int64_t N,
                int64_t K) {
  const int64_t M = 4096;
  const Device<uint16_t> a = normal_bf16(M * K, 3), b = normal_bf16(N * K, 4), c(2 * M * N);
  const Device<float> c_f32(M * N);
  const bool f32 = transpose_a;
  const LtPeer peer({.a = a.data(),
                     .b = b.data(),
                     .c = c.data(),
                     .M = M,
                     .N = N,
                     .K = K,
                     .transpose_a = transpose_a,
                     .transpose_b = transpose_b,
                     .operands = CUDA_R_16BF,
                     .result = f32 ? CUDA_R_32F : CUDA_R_16BF});
  const GemmBf16WgmmaArgs args{.a = a.data(),
                               .b = b.data(),
                               .transpose_a = transpose_a,
                               .transpose_b = transpose_b,
                               .c = f32 ? nullptr : c.data(),
                               .c_f32 = f32 ? c_f32.data() : nullptr,
                               .M = M,
                               .N = N,
                               .K = K};
  const auto times = measure({{"ours", [&](cudaStream_t s) { gemm_bf16_wgmma(args, s); }},
                              {"cuBLASLt", [&](cudaStream_t s) { peer.run(s); }}},
                             rounds);
  report({family, sizes({M, N, K}), times[0], times[1],
          2.0 * static_cast<double>(M) * static_cast<double>(N * K), 0});
}

/// Our grouped product beside our dense one of as many rows.
void grouped_fp8(const std::string& family, int64_t groups, int64_t rows, int64_t N, int64_t K,
                 bool masked) {
  const int64_t capacity = masked ? up_to(rows + rows / 4, 128) : rows, R = groups * capacity;
  const Quantised a(R, K, 1);
  const Weights b(groups, N, K, 2);
  const Device<uint16_t> c(R * N);
  const Device<uint8_t> workspace(gemm_fp8_workspace_bytes(K) + 16);
  std::vector<int32_t> begin, end;
  for (int64_t g = 0; g < groups; ++g) {
    begin.push_back(static_cast<int32_t>(g * capacity));
    end.push_back(static_cast<int32_t>(g * capacity + rows));
  }
  const Device<int32_t> begins(begin), ends(end);
  const GroupedGemmFp8WgmmaArgs args{.a = a.codes.data(),
                                     .a_scales = a.scales.data(),
                                     .a_scales_stride = a.stride,
                                     .b = b.codes.data(),
                                     .b_scales = b.scales.data(),
                                     .b_scales_stride = b.stride,
                                     .c = c.data(),
                                     .c_stride = N,
                                     .R = R,
                                     .N = N,
                                     .K = K,
                                     .groups = static_cast<int>(groups),
                                     .row_begin = begins.data(),
                                     .row_end = ends.data(),
                                     .workspace = workspace.data()};
  const GemmFp8WgmmaArgs dense{.a = a.codes.data(),
                               .a_scales = a.scales.data(),
                               .a_scales_stride = a.stride,
                               .b = b.codes.data(),
                               .b_scales = b.scales.data(),
                               .b_scales_stride = b.stride,
                               .c = c.data(),
                               .c_stride = N,
                               .M = groups * rows,
                               .N = N,
                               .K = K,
                               .workspace = workspace.data()};
  const auto times = measure({{"ours", [&](cudaStream_t s) { grouped_gemm_fp8_wgmma(args, s); }},
                              {"dense", [&](cudaStream_t s) { gemm_fp8_wgmma(dense, s); }}},
                             rounds);
  report({family, std::to_string(groups) + " of " + sizes({rows, N, K}), times[0], times[1],
          2.0 * static_cast<double>(groups * rows) * static_cast<double>(N * K), 0});
}

void weights_fp8(int64_t groups, int64_t M, int64_t N, int64_t rows) {
  const int64_t R = groups * rows;
  const Quantised a(M, R, 5), b(N, R, 6);
  const Device<float> c(groups * M * N);
  std::vector<int32_t> offsets;
  for (int64_t g = 0; g <= groups; ++g) offsets.push_back(static_cast<int32_t>(g * rows / 128));
  const Device<int32_t> block_offsets(offsets);
  const GroupedWeightsFp8WgmmaArgs args{.a = a.codes.data(),
                                        .a_scales = a.scales.data(),
                                        .a_scales_stride = a.stride,
                                        .b = b.codes.data(),
                                        .b_scales = b.scales.data(),
                                        .b_scales_stride = b.stride,
                                        .M = M,
                                        .N = N,
                                        .R = R,
                                        .groups = static_cast<int>(groups),
                                        .block_offsets = block_offsets.data(),
                                        .c = c.data(),
                                        .sums = nullptr,
                                        .parts = 1,
                                        .fixed = {}};
  std::vector<LtPeer> peers;  // each of operands of its own, as a loop over groups would have them
  for (int64_t g = 0; g < groups; ++g) {
    peers.emplace_back(LtProduct{.a = a.codes.data() + g * M * rows,
                                 .b = b.codes.data() + g * N * rows,
                                 .c = c.data() + g * M * N,
                                 .M = M,
                                 .N = N,
                                 .K = rows,
                                 .transpose_a = false,
                                 .transpose_b = true,
                                 .operands = CUDA_R_8F_E4M3,
                                 .result = CUDA_R_32F,
                                 .a_scales = a.scales.data() + g * rows / 128 * M,
                                 .b_scales = b.scales.data() + g * rows / 128 * N,
                                 .b_tiles = true});
  }
  const auto times = measure({{"ours", [&](cudaStream_t s) { grouped_weights_fp8_wgmma(args, s); }},
                              {"cuBLASLt",
                               [&](cudaStream_t s) {
                                 for (const LtPeer& peer : peers) peer.run(s);
                               }}},
                             rounds);
  report({"FP8 weights", std::to_string(groups) + " of " + sizes({M, N, rows}), times[0], times[1],
          2.0 * static_cast<double>(M) * static_cast<double>(N * R), 0});
}

void quantise(int64_t M, int64_t K) {
  const Device<uint16_t> x = normal_bf16(M * K, 1);
  const Device<uint8_t> codes(M * K), turned(M * K);
  const Device<float> scales(M * K / 128), turned_scales(M * K / 128);
  const auto tiles = [&](bool columns, bool power_of_two) {
    return [=](cudaStream_t s) {
      quantize_sm90({.x = x.data(),
                     .x_stride = K,
                     .M = M,
                     .K = K,
                     .power_of_two = power_of_two,
                     .least_amax = 1e-4f,
                     .rows = codes.data(),
                     .row_scales = scales.data(),
                     .row_scales_stride = M,
                     .columns = columns ? turned.data() : nullptr,
                     .column_scales = columns ? turned_scales.data() : nullptr,
                     .column_scales_stride = K,
                     .groups = 1,
                     .row_offsets = nullptr,
                     .block_offsets = nullptr,
                     .blocks = 0},
                    s);
    };
  };
  const auto blocks = [=](cudaStream_t s) {
    quantize_blocks_sm90({.w = x.data(),
                          .w_stride = K,
                          .groups = 1,
                          .N = M,
                          .K = K,
                          .power_of_two = false,
                          .least_amax = 1e-4f,
                          .codes = codes.data(),
                          .scales = scales.data(),
                          .scales_stride = K / 128,
                          .transposed = turned.data(),
                          .transposed_scales = turned_scales.data(),
                          .transposed_scales_stride = M / 128},
                         s);
  };
  const auto times = measure({{"rows", tiles(false, false)},
                              {"both", tiles(true, false)},
                              {"both, powers", tiles(true, true)},
                              {"blocks", blocks}},
                             rounds);
  const auto count = static_cast<double>(M * K);
  report({"quantise rows", sizes({M, K}), times[0], 0, 0, count * (3 + 4.0 / 128)});
  report({"quantise both", sizes({M, K}), times[1], 0, 0, count * (4 + 8.0 / 128)});
  report({"both, powers of 2", sizes({M, K}), times[2], 0, 0, count * (4 + 8.0 / 128)});
  report({"blocks and transpose", sizes({M, K}), times[3], 0, 0, count * 4});
}

/// Geometric mean of peer time over our time.
double mean_ratio(const std::string& family) {
  double sum = 0;
  int count = 0;
  for (const Row& row : table) {
    if (row.family != family || row.peer_us <= 0) continue;
    sum += std::log(row.peer_us / row.ours_us);
    ++count;
  }
  return count == 0 ? 0 : std::exp(sum / count);
}

void write_json(const char* path, const std::string& device) {
  FILE* file = std::fopen(path, "w");
  if (file == nullptr) return;
  std::fprintf(file,
               "{\"device\": \"%s\", \"cublaslt\": %zu, \"rounds\": %d, \"copy_rate\": %.0f,\n",
               device.c_str(), cublasLtGetVersion(), rounds, copy_bytes_a_second);
  std::fprintf(file, " \"rows\": [\n");
  for (size_t i = 0; i < table.size(); ++i) {
    const Row& row = table[i];
    std::fprintf(file,
                 "  {\"family\": \"%s\", \"shape\": \"%s\", \"ours_us\": %.2f, \"peer_us\": %.2f, "
                 "\"flop\": %.0f, \"bytes\": %.0f}%s\n",
                 row.family.c_str(), row.shape.c_str(), row.ours_us, row.peer_us, row.flop,
                 row.bytes, i + 1 < table.size() ? "," : "");
  }
  std::fprintf(file, " ]}\n");
  std::fclose(file);
}

void run(const char* json) {
  cudaDeviceProp device;
  check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  copy_bytes_a_second = copy_rate();
  std::printf("%s, cuBLASLt %zu, copy %.2f TB/s, medians of %d rounds in turns\n", device.name,
              cublasLtGetVersion(), copy_bytes_a_second * 1e-12, rounds);
  std::printf("%-22s %-28s %9s %9s %6s\n", "family", "shape", "ours us", "peer us", "ratio");
  const std::vector<std::pair<int64_t, int64_t>> shapes{{2112, 7168},  {24576, 1536}, {32768, 512},
                                                        {7168, 16384}, {4096, 7168},  {7168, 2048}};
  for (const auto& [N, K] : shapes) dense_fp8("FP8 dense", 4096, N, K, false);
  for (const int64_t M : {16, 64, 128}) {
    for (const auto& [N, K] : shapes) dense_fp8("FP8 few rows", M, N, K, true);
  }
  for (const auto& [N, K] : shapes) dense_bf16("BF16 forward (NT)", false, true, N, K);
  for (const auto& [N, K] : shapes) dense_bf16("BF16 inputs (NN)", false, false, N, K);
  for (const auto& [N, K] : shapes) dense_bf16("BF16 weights (TN)", true, false, N, K);
  for (const auto& [groups, M, N, rows] :
       std::vector<std::array<int64_t, 4>>{{1, 4096, 7168, 8192},
                                           {4, 4096, 7168, 8192},
                                           {4, 7168, 2048, 8192},
                                           {8, 4096, 7168, 4096}}) {
    weights_fp8(groups, M, N, rows);
  }
  for (const auto& [groups, rows, N, K] :
       std::vector<std::array<int64_t, 4>>{{4, 8192, 4096, 7168},
                                           {4, 8192, 7168, 2048},
                                           {8, 4096, 4096, 7168},
                                           {8, 4096, 7168, 2048}}) {
    grouped_fp8("FP8 contiguous/dense", groups, rows, N, K, false);
  }
  for (const auto& [groups, rows, N, K] :
       std::vector<std::array<int64_t, 4>>{{6, 1024, 4096, 7168},
                                           {6, 1024, 7168, 2048},
                                           {32, 192, 4096, 7168},
                                           {32, 192, 7168, 2048}}) {
    grouped_fp8("FP8 masked/dense", groups, rows, N, K, true);
  }
  quantise(8192, 7168);
  quantise(32768, 7168);
  std::printf("geometric means of the ratios:");
  for (const char* family :
       {"FP8 dense", "FP8 few rows", "BF16 forward (NT)", "BF16 inputs (NN)", "BF16 weights (TN)",
        "FP8 weights", "FP8 contiguous/dense", "FP8 masked/dense"}) {
    std::printf(" %s %.3f;", family, mean_ratio(family));
  }
  std::printf("\n");
  if (json != nullptr) write_json(json, device.name);
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  if (argc > 1) troupe::tests::rounds = std::atoi(argv[1]);
  troupe::tests::run(argc > 2 ? argv[2] : nullptr);
  return 0;
}
