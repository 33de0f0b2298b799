// exp, log, sin, cos and pow of our own: the C library's depend on the machine (law 1). In f64
// with FMA written out; for tables, initial weights, losses and sampling, not for inner loops.
#pragma once

namespace troupe::kernels {

/// e^x; relative error below 1e-15. +0 below -745, +infinity above 709.78; NaN stays NaN.
double exp_exact(double x);
/// Natural logarithm; relative error below 1e-15 (absolute near 1). log(0) = -infinity, NaN below 0.
double log_exact(double x);
/// x to the power y for x > 0, as e^(y ln x): relative error below 1e-14 for |y ln x| < 40.
double pow_exact(double x, double y);
/// Sine and cosine for |x| <= 1e9 radians; absolute error below 1e-15 up to 1e6.
double sin_exact(double x);
double cos_exact(double x);

}  // namespace troupe::kernels
