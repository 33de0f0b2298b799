// Every rounding of kernels/ops/rounding.h, logfmt.h and mxfp8.h under a name, and data of the kinds
// that they meet: for the test of their errors and for format_bench.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/ops/logfmt.h"
#include "kernels/ops/mxfp8.h"
#include "kernels/ops/rounding.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {

struct Format {
  const char* name;
  std::function<void(kernels::Queue&, const kernels::ConstTensor& x, const kernels::Tensor& y)> run;
};

inline Format tiled(const char* name, kernels::TileFormat format, int64_t rows, int64_t cols,
                    bool power_of_two) {
  return {name,
          [=](kernels::Queue& queue, const kernels::ConstTensor& x, const kernels::Tensor& y) {
            kernels::round_tiles(queue, {.x = x,
                                         .format = format,
                                         .tile_rows = rows == 0 ? x.rows() : rows,
                                         .tile_cols = cols == 0 ? x.cols() : cols,
                                         .power_of_two = power_of_two,
                                         .y = y,
                                         .least_amax = 1e-20f});
          }};
}

inline std::vector<Format> formats() {
  using namespace kernels;
  std::vector<Format> out;
  out.push_back({"BF16", [](Queue& queue, const ConstTensor& x, const Tensor& y) {
                   round_bf16(queue, {.x = x, .y = y});
                 }});
  out.push_back(tiled("E4M3 1x128", TileFormat::e4m3, 1, 128, false));
  out.push_back(tiled("E4M3 1x128, power of 2", TileFormat::e4m3, 1, 128, true));
  out.push_back(tiled("E4M3 128x1", TileFormat::e4m3, 128, 1, false));
  out.push_back(tiled("E4M3 128x128", TileFormat::e4m3, 128, 128, false));
  out.push_back(tiled("E4M3 per tensor", TileFormat::e4m3, 0, 0, false));
  out.push_back(tiled("E5M6 1x128, power of 2", TileFormat::e5m6, 1, 128, true));
  out.push_back({"MXFP8 1x32", [](Queue& queue, const ConstTensor& x, const Tensor& y) {
                   round_mxfp8(queue, {.x = x, .y = y});
                 }});
  for (const auto& [name, bits] : {std::pair{"LogFMT-8 1x128", 8}, {"LogFMT-10 1x128", 10}}) {
    out.push_back({name, [bits = bits](Queue& queue, const ConstTensor& x, const Tensor& y) {
                     round_logfmt(queue, {.x = x, .bits = bits, .y = y});
                   }});
  }
  return out;
}

inline std::vector<float> rounded_by(const Format& format, const kernels::ConstTensor& x) {
  kernels::ThreadPool pool(2);
  kernels::Queue queue(pool);
  const kernels::Buffer y = kernels::allocate_f32({x.rows(), x.cols()});
  format.run(queue, x, y);
  queue.wait();
  return to_vector(y);
}

/// Root of the mean over all elements of ((y - x) / x)^2, where x is not 0: every element counts
/// alike, however small.
inline double relative_error(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 0.0f) continue;
    const double error = (static_cast<double>(y[i]) - x[i]) / x[i];
    sum += error * error;
    ++count;
  }
  return std::sqrt(sum / count);
}

/// Root of the sum of (y - x)^2 over that of x^2: the error of the whole.
inline double relative_distance(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0, whole = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = static_cast<double>(y[i]) - x[i];
    sum += error * error;
    whole += static_cast<double>(x[i]) * x[i];
  }
  return std::sqrt(sum / whole);
}

/// Normal numbers, and in every 500th row or so one that is 100,000 times as large.
inline kernels::Buffer with_outliers(int64_t rows, int64_t cols, uint32_t stream) {
  kernels::Buffer x = normal({rows, cols}, stream);
  for (int64_t row = 37; row < rows; row += 500) {
    kernels::values<float>(x.view)[row * cols + (row * 7) % cols] *= 1e5f;
  }
  return x;
}

/// Gradients of tokens: normal rows whose sizes are log-normal (sigma 4: tokens differ by powers of
/// ten in how much they matter to the loss).
inline kernels::Buffer token_gradients(int64_t rows, int64_t cols, uint32_t stream) {
  kernels::Buffer x = normal({rows, cols}, stream, 1e-5f);
  for (int64_t row = 0; row < rows; ++row) {
    const double size =
        std::exp(4.0 * kernels::random_normal(
                           {7, kernels::Purpose::test, stream + 1, static_cast<uint64_t>(row)}));
    float* p = kernels::values<float>(x.view) + row * cols;
    for (int64_t i = 0; i < cols; ++i) p[i] *= static_cast<float>(size);
  }
  return x;
}

}  // namespace troupe::tests
