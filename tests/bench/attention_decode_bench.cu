// Hopper's absorbed attention over a paged cache: TFLOPS, and bytes of the cache a second beside
// the copy rate. L2 is flushed before every call; figures are medians. Usage:
// attention_decode_bench [ROUNDS] [JSON FILE]
#include <array>
#include <numeric>

#include "kernels/cuda/attention/attention_decode_sm90.h"
#include "tests/bench/sm90_bench.cuh"

namespace troupe::tests {
namespace {

struct DecodeShape {
  int64_t heads, sequences, tokens, length;
};

/// Pages in an order without a pattern: page i is number i * 7919 mod count, count not a multiple.
std::vector<int32_t> scattered_pages(int64_t count) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<int32_t>(i * 7919 % count));
  return out;
}

void run(int rounds, const char* json) {
  cudaDeviceProp device;
  check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  const double copy = copy_rate();
  std::printf("%s, copy %.2f TB/s, medians of %d rounds\n", device.name, copy * 1e-12, rounds);
  std::printf("%5s %9s %6s %7s %10s %7s %6s %s\n", "heads", "sequences", "tokens", "length", "us",
              "TFLOPS", "TB/s", "of the copy rate");
  FILE* file = json != nullptr ? std::fopen(json, "w") : nullptr;
  if (file != nullptr) {
    std::fprintf(file, "{\"device\": \"%s\", \"copy_rate\": %.0f, \"rounds\": %d, \"rows\": [\n",
                 device.name, copy, rounds);
  }
  const std::vector<DecodeShape> shapes{
      {128, 128, 1, 4096}, {128, 128, 2, 4096}, {128, 64, 1, 8192}, {128, 132, 1, 2048},
      {128, 16, 1, 32768}, {16, 128, 1, 4096},  {16, 264, 1, 4096}, {16, 64, 1, 16384},
      {16, 128, 2, 8192},  {32, 132, 1, 8192},  {64, 132, 1, 8192}};
  for (size_t i = 0; i < shapes.size(); ++i) {
    const DecodeShape& x = shapes[i];
    const int64_t B = x.sequences, pages = B * x.length / 64, rows = B * x.tokens * x.heads;
    const Device<uint16_t> q = normal_bf16(rows * 576, 1), cache = normal_bf16(pages * 64 * 576, 2);
    const Device<int32_t> table(scattered_pages(pages));
    const Device<int32_t> lengths(
        std::vector<int32_t>(static_cast<size_t>(B), static_cast<int32_t>(x.length)));
    const Device<uint16_t> o(rows * 512);
    const Device<float> log_sums(rows);
    const Device<uint8_t> workspace(
        kernels::cuda::attention_decode_sm90_workspace_bytes(x.heads, B, x.tokens, x.length));
    const kernels::cuda::AttentionDecodeSm90Args args{.heads = x.heads,
                                                      .sequences = B,
                                                      .tokens = x.tokens,
                                                      .scale = 0.07f,
                                                      .q = q.data(),
                                                      .cache = cache.data(),
                                                      .pages = pages,
                                                      .page_table = table.data(),
                                                      .table_stride = x.length / 64,
                                                      .lengths = lengths.data(),
                                                      .longest = x.length,
                                                      .o = o.data(),
                                                      .log_sums = log_sums.data(),
                                                      .workspace = workspace.data()};
    const double us = measure(
        {{"ours",
          [&](cudaStream_t stream) { kernels::cuda::attention_decode_sm90(args, stream); }}},
        rounds)[0];
    const double flop = 2.0 * (576 + 512) * static_cast<double>(rows * x.length);
    const double bytes = 2.0 * 576 * static_cast<double>(B * x.length);
    std::printf("%5ld %9ld %6ld %7ld %10.1f %7.0f %6.2f %5.0f %%\n", x.heads, B, x.tokens, x.length,
                us, flop / us * 1e-6, bytes / us * 1e-6, 100 * bytes / us * 1e6 / copy);
    std::fflush(stdout);
    if (file != nullptr) {
      std::fprintf(file,
                   "  {\"heads\": %ld, \"sequences\": %ld, \"tokens\": %ld, \"length\": %ld, "
                   "\"us\": %.2f, \"flop\": %.0f, \"bytes\": %.0f}%s\n",
                   x.heads, B, x.tokens, x.length, us, flop, bytes,
                   i + 1 < shapes.size() ? "," : "");
    }
  }
  if (file != nullptr) {
    std::fprintf(file, " ]}\n");
    std::fclose(file);
  }
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  troupe::tests::run(argc > 1 ? std::atoi(argv[1]) : 30, argc > 2 ? argv[2] : nullptr);
  return 0;
}
