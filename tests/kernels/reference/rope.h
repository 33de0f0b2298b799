#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>
#include <optional>

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

struct Yarn {
  double factor, original_positions, beta_fast, beta_slow;
};

/// Frequency of pair i, as `precompute_freqs_cis` of DeepSeek-V3's inference/model.py has it.
inline long double rope_frequency(size_t i, size_t rotary, double theta,
                                  const std::optional<Yarn>& yarn) {
  const long double R = static_cast<long double>(rotary), index = static_cast<long double>(i);
  const long double f = std::pow(static_cast<long double>(theta), -2 * index / R);
  if (!yarn) return f;
  const auto correction = [&](double rotations) {
    return R *
           std::log(yarn->original_positions / (rotations * 2 * std::numbers::pi_v<long double>)) /
           (2 * std::log(static_cast<long double>(theta)));
  };
  const long double low = std::max(std::floor(correction(yarn->beta_fast)), 0.0L);
  const long double high = std::min(std::ceil(correction(yarn->beta_slow)), R - 1);
  const long double width = low == high ? 0.001L : high - low;
  const long double smooth = 1 - std::clamp((index - low) / width, 0.0L, 1.0L);
  return f / yarn->factor * (1 - smooth) + f * smooth;
}

/// Rotates the pairs (2i, 2i + 1) of one head by the given angles.
inline Doubles rotate(const Doubles& x, const Doubles& angles) {
  Doubles y(x.size());
  for (size_t i = 0; i < angles.size(); ++i) {
    const double c = std::cos(angles[i]), s = std::sin(angles[i]);
    y[2 * i] = x[2 * i] * c - x[2 * i + 1] * s;
    y[2 * i + 1] = x[2 * i] * s + x[2 * i + 1] * c;
  }
  return y;
}

}  // namespace troupe::tests::reference
