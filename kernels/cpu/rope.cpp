#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/rope.h"

#include "kernels/cpu/row_type.h"

#include <string>

#include "kernels/math/scalar_math.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/rope.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

constexpr double two_pi = 6.283185307179586477;

/// YaRN's m(x) for scale s.
double attention_scale(double factor, double x) {
  return factor <= 1 ? 1.0 : 0.1 * x * log_exact(factor) + 1.0;
}

/// The pair whose wave turns `rotations` times within the original positions, as a real number.
double pair_of(double rotations, int64_t rotary, double theta, const Yarn& yarn) {
  return static_cast<double>(rotary) * log_exact(yarn.original_positions / (rotations * two_pi)) /
         (2.0 * log_exact(theta));
}

/// Share of the stretched frequency in pair i: 0 for fast waves, 1 for slow ones.
double ramp(int64_t i, int64_t rotary, double theta, const Yarn& yarn) {
  const double low = std::max(std::floor(pair_of(yarn.beta_fast, rotary, theta, yarn)), 0.0);
  const double high = std::min(std::ceil(pair_of(yarn.beta_slow, rotary, theta, yarn)),
                               static_cast<double>(rotary - 1));
  const double width = low == high ? 0.001 : high - low;  // as the released code avoids 0 / 0
  return std::clamp((static_cast<double>(i) - low) / width, 0.0, 1.0);
}

void check_table(int64_t positions, int64_t rotary, double theta, const std::optional<Yarn>& yarn) {
  if (positions < 0 || rotary < 0 || rotary % 2 != 0) {
    throw KernelError("rope_table of " + std::to_string(positions) + " positions and width " +
                      std::to_string(rotary) + ", wanted no negative number and an even width");
  }
  if (!(theta > 1)) throw KernelError("rope theta " + std::to_string(theta) + ", wanted above 1");
  if (!yarn) return;
  if (!(yarn->factor > 0 && yarn->original_positions > 0 && yarn->beta_fast > 0 &&
        yarn->beta_slow > 0)) {
    throw KernelError("YaRN factor " + std::to_string(yarn->factor) + ", original_positions " +
                      std::to_string(yarn->original_positions) + ", beta_fast " +
                      std::to_string(yarn->beta_fast) + ", beta_slow " +
                      std::to_string(yarn->beta_slow) + ", wanted above 0");
  }
}

}  // namespace

RopeTable rope_table(int64_t positions, int64_t rotary, double theta,
                     const std::optional<Yarn>& yarn) {
  check_table(positions, rotary, theta, yarn);
  const int64_t pairs = rotary / 2;
  RopeTable table{allocate_f32({positions, pairs}), allocate_f32({positions, pairs})};
  const double scale = yarn ? attention_scale(yarn->factor, yarn->mscale) /
                                  attention_scale(yarn->factor, yarn->mscale_all_dim)
                            : 1.0;
  for (int64_t i = 0; i < pairs; ++i) {
    double frequency =
        pow_exact(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
    if (yarn) {
      const double share = ramp(i, rotary, theta, *yarn);
      frequency = frequency / yarn->factor * share + frequency * (1.0 - share);
    }
    for (int64_t p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      values<float>(table.cosines.view)[p * pairs + i] =
          static_cast<float>(cos_exact(angle) * scale);
      values<float>(table.sines.view)[p * pairs + i] = static_cast<float>(sin_exact(angle) * scale);
    }
  }
  return table;
}

float softmax_scale(int64_t query_width, const std::optional<Yarn>& yarn) {
  if (query_width < 1) {
    throw KernelError("softmax_scale of query width " + std::to_string(query_width));
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(query_width));
  if (!yarn || yarn->mscale_all_dim == 0) return static_cast<float>(scale);
  const double m = attention_scale(yarn->factor, yarn->mscale_all_dim);
  return static_cast<float>(scale * m * m);
}

void rope(Queue& queue, const RopeArgs& args) {
  const OperatorLabel label("rope");
  const DType type = cpu::row_type(queue, args.x);
  const int64_t T = args.positions.count(), P = args.cosines.rows(), R = args.x.cols();
  if (args.heads < 0 || R % 2 != 0) {
    throw KernelError("rope of " + std::to_string(args.heads) + " heads of width " +
                      std::to_string(R) + ", wanted no negative number and an even width");
  }
  expect_shape("rope x", args.x, type, {T * args.heads, R});
  expect_shape("rope positions", args.positions, DType::i32, {T});
  expect_shape("rope cosines", args.cosines, DType::f32, {P, R / 2});
  expect_shape("rope sines", args.sines, DType::f32, {P, R / 2});
  expect_shape("rope y", args.y, type, {T * args.heads, R});
  if (queue.is_cuda()) return cuda::rope(queue, args);
  const int64_t parts = part_count(queue, T, 2 * args.heads * R);
  queue.run(parts, [args, T, P, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = values<int32_t>(args.positions)[t];
      if (position < 0 || position >= P) {
        throw KernelError("rope position " + std::to_string(position) + " at token " +
                          std::to_string(t) + ", wanted 0 to " + std::to_string(P - 1));
      }
      TROUPE_ISA_CALL(rotate_token)(args, t, position);
    }
  });
}

}  // namespace troupe::kernels

#else

inline F16 negated(F16 x) { return set1(-0.0f) - x; }

/// Up to 16 pairs at once: split into firsts and seconds, rotated, and joined again.
inline void rotate_pairs(const float* x, F16 cosine, F16 sine, float* y, int n) {
  float a[16] = {}, b[16] = {};
  for (int i = 0; i < n; ++i) {
    a[i] = x[2 * i];
    b[i] = x[2 * i + 1];
  }
  const F16 first = load(a), second = load(b);
  store(a, fma(first, cosine, negated(second * sine)));
  store(b, fma(first, sine, second * cosine));
  for (int i = 0; i < n; ++i) {
    y[2 * i] = a[i];
    y[2 * i + 1] = b[i];
  }
}

inline void rotate_token(const RopeArgs& args, int64_t t, int64_t position) {
  const float* cosines = values<float>(args.cosines) + position * args.cosines.row_stride;
  const float* sines = values<float>(args.sines) + position * args.sines.row_stride;
  for_lanes(args.x.cols() / 2, [&](int64_t i, int n) {
    const F16 cosine = load_lanes(cosines + i, n);
    const F16 sine = args.inverse ? negated(load_lanes(sines + i, n)) : load_lanes(sines + i, n);
    for (int64_t row = t * args.heads; row < (t + 1) * args.heads; ++row) {
      const float* x = values<float>(args.x) + row * args.x.row_stride + 2 * i;
      float* y = values<float>(args.y) + row * args.y.row_stride + 2 * i;
      if (n == 16) {
        rotate_pairs(x, cosine, sine, y, 16);
      } else {
        rotate_pairs(x, cosine, sine, y, n);
      }
    }
  });
}

#endif
