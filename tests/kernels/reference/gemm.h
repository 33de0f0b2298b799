// The obvious matrix products, in f64.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace troupe::tests::reference {

/// op(a) is [M, K], op(b) is [K, N].
struct ProductArgs {
  const std::vector<double>& a;
  const std::vector<double>& b;
  int64_t M, N, K;
  bool transpose_a;
  bool transpose_b;
};

struct Product {
  std::vector<double> c;         ///< [M, N]
  std::vector<double> absolute;  ///< [M, N], sums of |a b|: what rounding errors are measured by
};

inline Product product(const ProductArgs& x) {
  Product out;
  out.c.assign(static_cast<size_t>(x.M * x.N), 0.0);
  out.absolute = out.c;
  for (int64_t m = 0; m < x.M; ++m) {
    for (int64_t n = 0; n < x.N; ++n) {
      for (int64_t k = 0; k < x.K; ++k) {
        const double a = x.a[static_cast<size_t>(x.transpose_a ? k * x.M + m : m * x.K + k)];
        const double b = x.b[static_cast<size_t>(x.transpose_b ? n * x.K + k : k * x.N + n)];
        out.c[static_cast<size_t>(m * x.N + n)] += a * b;
        out.absolute[static_cast<size_t>(m * x.N + n)] += std::abs(a * b);
      }
    }
  }
  return out;
}

}  // namespace troupe::tests::reference
