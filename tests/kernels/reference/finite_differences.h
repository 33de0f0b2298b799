// Central differences of a reference forward in f64: what every backward is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

namespace troupe::tests {

using Doubles = std::vector<double>;

/// Gradient of f at x, by (f(x + h) - f(x - h)) / 2h one element at a time. With h = 1e-5 and f of
/// size 1 the error is about 1e-10 times f's third derivative, and 1e-11 from rounding.
inline Doubles finite_differences(const std::function<double(const Doubles&)>& f, Doubles x,
                                  double h = 1e-5) {
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + h;
    const double above = f(x);
    x[i] = at - h;
    const double below = f(x);
    x[i] = at;
    gradient[i] = (above - below) / (2 * h);
  }
  return gradient;
}

/// Sum of products: turns an output and its gradient into the number that is differentiated.
inline double inner_product(const Doubles& a, const Doubles& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Largest |a_i - b_i| over the largest |b_i| (over 1e-30 at least); infinity where sizes differ
/// or a number is NaN.
inline double relative_difference(const Doubles& a, const Doubles& b) {
  double difference = a.size() == b.size() ? 0 : INFINITY, size = 1e-30;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::fabs(a[i] - b[i]);
    difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    size = std::max(size, std::fabs(b[i]));
  }
  return difference / size;
}

}  // namespace troupe::tests
