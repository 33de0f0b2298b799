// A tile of LogFMT, for every device: logfmt.h says what it is. TROUPE_SCALAR says how the
// functions are declared.

#include "kernels/math/scalar_math.inl"

constexpr int64_t tile_size = 128;
constexpr double widest = 32 * 0.69314718055994530942;  // 32 ln 2

/// The magnitudes that a tile's codes decode to.
class Levels {
 public:
  /// `low` and `high` are logarithms.
  TROUPE_SCALAR Levels(double low, double high, int bits)
      : low_(low),
        last_((int64_t{1} << (bits - 1)) - 2),
        step_((high - low) / static_cast<double>(last_)) {}

  /// The nearest one to a magnitude, or 0.
  TROUPE_SCALAR float nearest(float magnitude) const {
    if (magnitude == 0.0f) return 0.0f;
    const double above_low = log_of(magnitude) - low_;
    // All of one magnitude: there is no step.
    const double steps = step_ > 0 ? above_low / step_ : 0.0;
    const int64_t at = std::clamp<int64_t>(static_cast<int64_t>(std::floor(steps)), -1, last_);
    const float below = level(at), above = level(std::min(at + 1, last_));
    const double to_below = std::fabs(static_cast<double>(magnitude) - below);
    const double to_above = std::fabs(static_cast<double>(above) - magnitude);
    return to_above < to_below ? above : below;
  }

 private:
  /// Of code `index` + 1; below the first one stands 0.
  TROUPE_SCALAR float level(int64_t index) const {
    if (index < 0) return 0.0f;
    return static_cast<float>(exp_of(low_ + step_ * static_cast<double>(index)));
  }

  double low_;
  int64_t last_;  ///< index of the greatest level
  double step_;
};

TROUPE_SCALAR void round_tile(const float* x, int64_t count, int bits, float* y) {
  float least = std::numeric_limits<float>::infinity(), greatest = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    finite = finite && magnitude <= std::numeric_limits<float>::max();
    greatest = std::max(greatest, magnitude);
    if (magnitude > 0.0f) least = std::min(least, magnitude);
  }
  if (!finite) {
    for (int64_t i = 0; i < count; ++i) y[i] = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  if (greatest == 0.0f) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i];  // zeros keep their signs
    return;
  }
  const double high = log_of(greatest);
  const Levels levels(std::max(log_of(least), high - widest), high, bits);
  for (int64_t i = 0; i < count; ++i) y[i] = std::copysign(levels.nearest(std::fabs(x[i])), x[i]);
}
