#include "kernels/cpu/gemm/narrow_product.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace troupe::kernels::cpu {

namespace {

constexpr int fraction_bits = 13;  // of the accumulator and of what is added to it

/// Floor of log2 |x|; -1023 for 0, 1024 for infinities and NaN. No sum of codes is subnormal in
/// f64.
int exponent_of(double x) {
  return static_cast<int>(std::bit_cast<uint64_t>(x) >> 52 & 0x7ff) - 1023;
}

double power_of_two(int n) { return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52); }

/// Cut to 14 significant bits.
double cut(double x) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(x) &
                               ~((uint64_t{1} << (52 - fraction_bits)) - 1));
}

/// One element of c: a and b are its row and column.
float narrow_element(const GemmBlock& g, const double* a, const double* b, int64_t row,
                     int64_t col) {
  const int64_t every = g.scales.promote_every;
  const bool scale_first = scale_depth % every != 0;
  float total = 0.0f;
  double accumulator = 0.0;
  for (int64_t k0 = 0; k0 < g.depth; k0 += narrow_group) {
    const int64_t count = std::min(narrow_group, g.depth - k0), end = k0 + count;
    const int64_t block = k0 / scale_depth;
    const float scale = g.scales.a_scale(row, block) * g.scales.b_scale(col, block);
    const double factor = scale_first ? static_cast<double>(scale) : 1.0;
    double products[narrow_group];
    for (int64_t k = 0; k < count; ++k) products[k] = a[k0 + k] * b[k0 + k] * factor;
    accumulator = add_narrow(accumulator, products, count);
    if (end % every != 0 && end != g.depth) continue;
    const auto partial = static_cast<float>(accumulator);
    total = scale_first ? total + partial : std::fma(partial, scale, total);
    accumulator = 0.0;
  }
  return total;
}

}  // namespace

double add_narrow(double accumulator, const double* products, int64_t count) {
  int greatest = exponent_of(accumulator);
  for (int64_t k = 0; k < count; ++k) greatest = std::max(greatest, exponent_of(products[k]));
  if (greatest == 1024) return std::numeric_limits<double>::quiet_NaN();
  if (greatest == -1023) return 0.0;
  // In units of 2^(greatest - 13) each is less than 2^14; conversion cuts toward zero.
  const double units = power_of_two(fraction_bits - greatest);
  auto sum = static_cast<int32_t>(accumulator * units);
  for (int64_t k = 0; k < count; ++k) sum += static_cast<int32_t>(products[k] * units);
  return cut(static_cast<double>(sum) * power_of_two(greatest - fraction_bits));
}

void multiply_narrow(const GemmBlock& g) {
  const auto depth = static_cast<size_t>(g.depth);
  std::vector<double> rows(static_cast<size_t>(g.rows) * depth), column(depth);
  for (int64_t r = 0; r < g.rows; ++r) {
    for (int64_t k = 0; k < g.depth; ++k) {
      rows[static_cast<size_t>(r * g.depth + k)] = g.a[r * g.a_row + k * g.a_k];
    }
  }
  for (int64_t j = 0; j < g.cols; ++j) {
    for (int64_t k = 0; k < g.depth; ++k) {
      column[static_cast<size_t>(k)] =
          g.b_transposed ? g.b[j * g.b_stride + k] : g.b[k * g.b_stride + j];
    }
    for (int64_t r = 0; r < g.rows; ++r) {
      g.c[r * g.c_row + j] = narrow_element(g, rows.data() + r * g.depth, column.data(), r, j);
    }
  }
}

}  // namespace troupe::kernels::cpu
