// What the small formats lose, as tables and as JSON: errors of rounding, and errors of summing.
// Usage: format_bench [JSON]
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/ops/gemm_fp8.h"
#include "tests/kernels/ops/formats.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using Json = nlohmann::ordered_json;

Buffer log_normal(int64_t rows, int64_t cols, uint32_t stream) {
  Buffer x = normal({rows, cols}, stream);
  float* p = values<float>(x.view);
  for (int64_t i = 0; i < x.view.count(); ++i) {
    const double size = std::exp(2.0 * std::abs(static_cast<double>(p[i])));
    p[i] = static_cast<float>(p[i] < 0 ? -size : size);
  }
  return x;
}

struct Data {
  const char* name;
  Buffer x;
};

/// Prints the table; its numbers, as shares, by format and data.
Json print_roundings() {
  Json json;
  const std::vector<Data> data{{"normal", normal({1024, 512}, 1)},
                               {"log-normal", log_normal(1024, 512, 2)},
                               {"outliers", with_outliers(1024, 512, 3)},
                               {"token gradients", token_gradients(1024, 512, 4)}};
  std::printf(
      "Rounding, %% of 1024 x 512 numbers: root mean square of each number's relative error"
      " | error of the whole\n%-24s",
      "");
  for (const Data& d : data) std::printf(" %18s", d.name);
  std::printf("\n");
  for (const Format& format : formats()) {
    std::printf("%-24s", format.name);
    for (const Data& d : data) {
      const auto x = to_vector(d.x), y = rounded_by(format, d.x);
      const double each = relative_error(x, y), whole = relative_distance(x, y);
      std::printf("  %7.3f | %7.3f", 100 * each, 100 * whole);
      json[format.name][d.name] = {{"rms_relative_error_of_each", each},
                                   {"relative_error_of_the_whole", whole}};
    }
    std::printf("\n");
  }
  return json;
}

/// Root mean square and greatest relative error.
struct Errors {
  double typical = 0, greatest = 0;
};

/// Operands are uniform in (0, 1) or normal, rounded to E4M3; errors are of the sums alone, as
/// shares of the root mean square result.
Errors sum_errors(int64_t K, bool uniform, Accumulator accumulator, int64_t promote_every) {
  const int64_t M = 64, N = 64, blocks = (K + 127) / 128;
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer a = normal({M, K}, 5), b = normal({N, K}, 6), c = allocate_f32({M, N});
  const Buffer a_scales = allocate_f32({M, blocks}), b_scales = allocate_f32({1, blocks});
  uint32_t stream = 7;
  for (const Buffer* x : {&a, &b}) {
    ++stream;
    for (int64_t i = 0; uniform && i < x->view.count(); ++i) {
      values<float>(x->view)[i] =
          static_cast<float>(random_uniform({7, Purpose::test, stream, static_cast<uint64_t>(i)}));
    }
    tiled("", TileFormat::e4m3, 0, 0, true).run(queue, *x, *x);
  }
  std::fill_n(values<float>(a_scales.view), a_scales.view.count(), 1.0f);
  std::fill_n(values<float>(b_scales.view), b_scales.view.count(), 1.0f);
  gemm_fp8(queue, {.a = a,
                   .a_scales = a_scales,
                   .b = b,
                   .b_scales = b_scales,
                   .transpose_b = true,
                   .c = c,
                   .accumulator = accumulator,
                   .promote_every = promote_every});
  queue.wait();
  Errors errors;
  double size = 0;
  for (int64_t i = 0; i < M * N; ++i) {
    double exact = 0;
    for (int64_t k = 0; k < K; ++k) {
      exact += static_cast<double>(values<float>(a.view)[i / N * K + k]) *
               values<float>(b.view)[i % N * K + k];
    }
    const double error = std::abs(values<float>(c.view)[i] - exact);
    errors.typical += error * error;
    errors.greatest = std::max(errors.greatest, error);
    size += exact * exact;
  }
  return {std::sqrt(errors.typical / size),
          errors.greatest / std::sqrt(size / static_cast<double>(M * N))};
}

/// Prints the table; its numbers, by way of summing, operands and K.
Json print_sums() {
  Json json;
  struct Row {
    const char* name;
    Accumulator accumulator;
    int64_t promote_every;
  };
  const std::vector<Row> rows{{"f32, promoted every 128", Accumulator::f32, 128},
                              {"narrow, every 128", Accumulator::narrow, 128},
                              {"narrow, every 512", Accumulator::narrow, 512},
                              {"narrow, never", Accumulator::narrow, 0}};
  std::printf(
      "\nSumming E4M3 products: root mean square | greatest error, over the root mean"
      " square result\n%-24s",
      "");
  for (const char* what : {"uniform", "normal"}) {
    for (const int K : {512, 4096}) std::printf("   %8s K %-8d", what, K);
  }
  std::printf("\n");
  for (const Row& row : rows) {
    std::printf("%-24s", row.name);
    for (const bool uniform : {true, false}) {
      for (const int64_t K : {512, 4096}) {
        const Errors e = sum_errors(K, uniform, row.accumulator, row.promote_every);
        std::printf("  %8.1e | %8.1e", e.typical, e.greatest);
        json[row.name][uniform ? "uniform" : "normal"]["K " + std::to_string(K)] = {
            {"rms", e.typical}, {"greatest", e.greatest}};
      }
    }
    std::printf("\n");
  }
  return json;
}

}  // namespace
}  // namespace troupe::tests

int main(int argc, char** argv) {
  using namespace troupe;
  tests::Json json{{"arithmetic", "cpu.1"},
                   {"rounding", {{"rows", 1024}, {"cols", 512}}},
                   {"summing", {{"rows", 64}, {"cols", 64}}}};
  json["rounding"]["formats"] = tests::print_roundings();
  json["summing"]["errors_over_rms_result"] = tests::print_sums();
  if (argc < 2) return 0;
  std::ofstream file(argv[1]);
  file << json.dump(1) << "\n";
  return file.flush() ? 0 : 1;
}
