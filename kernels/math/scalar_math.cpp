#include "kernels/math/scalar_math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace troupe::kernels {
namespace {

#define TROUPE_SCALAR inline
#include "kernels/math/scalar_math.inl"
#undef TROUPE_SCALAR

// pi / 2 in parts; the first have trailing zeros, so that n * part is exact for small n.
constexpr double half_pi_1 = 0x1.921fb544p+0;
constexpr double half_pi_2 = 0x1.0b4611a6p-34;
constexpr double half_pi_3 = 0x1.3198a2e037073p-69;

/// Taylor series of sine on |r| <= pi / 4.
double sin_series(double r) {
  const double z = r * r;
  double p = -1.0 / 1307674368000.0;
  p = std::fma(p, z, 1.0 / 6227020800.0);
  p = std::fma(p, z, -1.0 / 39916800.0);
  p = std::fma(p, z, 1.0 / 362880.0);
  p = std::fma(p, z, -1.0 / 5040.0);
  p = std::fma(p, z, 1.0 / 120.0);
  p = std::fma(p, z, -1.0 / 6.0);
  return std::fma(p * z, r, r);
}

double cos_series(double r) {
  const double z = r * r;
  double p = 1.0 / 20922789888000.0;
  p = std::fma(p, z, -1.0 / 87178291200.0);
  p = std::fma(p, z, 1.0 / 479001600.0);
  p = std::fma(p, z, -1.0 / 3628800.0);
  p = std::fma(p, z, 1.0 / 40320.0);
  p = std::fma(p, z, -1.0 / 720.0);
  p = std::fma(p, z, 1.0 / 24.0);
  p = std::fma(p, z, -0.5);
  return std::fma(p, z, 1.0);
}

/// Quarter turns in x (mod 4) and the rest, |rest| <= pi / 4.
struct Reduced {
  int quarter;
  double rest;
};
Reduced reduce(double x) {
  const double n = nearest(x * 0.63661977236758134308);
  double r = std::fma(n, -half_pi_1, x);
  r = std::fma(n, -half_pi_2, r);
  r = std::fma(n, -half_pi_3, r);
  return {static_cast<int>(static_cast<int64_t>(n) & 3), r};
}

}  // namespace

double exp_exact(double x) { return exp_of(x); }

double log_exact(double x) { return log_of(x); }

double pow_exact(double x, double y) { return exp_exact(y * log_exact(x)); }

double sin_exact(double x) {
  const auto [quarter, rest] = reduce(x);
  const double value = quarter & 1 ? cos_series(rest) : sin_series(rest);
  return quarter & 2 ? -value : value;
}

double cos_exact(double x) {
  const auto [quarter, rest] = reduce(x);
  const double value = quarter & 1 ? sin_series(rest) : cos_series(rest);
  return (quarter == 1 || quarter == 2) ? -value : value;
}

}  // namespace troupe::kernels
