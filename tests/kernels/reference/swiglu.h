#pragma once

#include "tests/kernels/reference/finite_differences.h"

namespace troupe::tests::reference {

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline Doubles swiglu(const Doubles& gate, const Doubles& up) {
  Doubles y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
  return y;
}

struct SwigluGradients {
  Doubles dgate, dup;
};
inline SwigluGradients swiglu_backward(const Doubles& dy, const Doubles& gate, const Doubles& up) {
  SwigluGradients out{Doubles(dy.size()), Doubles(dy.size())};
  for (size_t i = 0; i < dy.size(); ++i) {
    const double g = gate[i], s = sigmoid(g);
    out.dgate[i] = dy[i] * up[i] * s * (1 + g * (1 - s));
    out.dup[i] = dy[i] * g * s;
  }
  return out;
}

}  // namespace troupe::tests::reference
