#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/optimizer.h"
#include "kernels/profile.h"

#include <bit>
#include <limits>
#include <string>

#define TROUPE_ISA_FILE "kernels/cpu/optimizer.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

/// 2^-s.
double unit_of(int scale_bits) {
  if (scale_bits < 0 || scale_bits > 62) {
    throw KernelError("fixed point scale_bits " + std::to_string(scale_bits) + ", wanted 0 to 62");
  }
  return std::ldexp(1.0, -scale_bits);
}

/// `first`: of the blocks that are updated together.
void check_adamw(const Queue& queue, const AdamWArgs& args, const AdamWArgs& first) {
  const int64_t n = args.gradient.count();
  expect_shape("adamw gradient", args.gradient, DType::i64, {n});
  expect_shape("adamw weight", args.weight, DType::f32, {n});
  const DType moments = first.moment1.dtype == DType::bf16 ? DType::bf16 : DType::f32;
  expect_shape("adamw moment1", args.moment1, moments, {n});
  expect_shape("adamw moment2", args.moment2, moments, {n});
  expect_shape("adamw new_weight", args.new_weight, DType::f32, {n});
  expect_shape("adamw new_moment1", args.new_moment1, moments, {n});
  expect_shape("adamw new_moment2", args.new_moment2, moments, {n});
  unit_of(args.scale_bits);
  if (args.scale_bits != first.scale_bits ||
      args.step.learning_rate != first.step.learning_rate ||
      args.step.correction1 != first.step.correction1 || args.step.clip != first.step.clip) {
    throw KernelError("adamw_blocks has blocks of other steps or scale_bits, wanted one of each");
  }
  if (args.new_bf16.data != nullptr) {
    expect_shape("adamw new_bf16", args.new_bf16, DType::bf16, {n});
    if (!queue.is_cuda()) throw KernelError("adamw new_bf16 on the CPU, wanted none");
  }
}

}  // namespace

void squared_norm(Queue& queue, const SquaredNormArgs& args) {
  const OperatorLabel label("squared_norm");
  const int64_t n = args.gradient.count();
  expect_shape("squared_norm gradient", args.gradient, DType::i64, {n});
  const double unit = unit_of(args.scale_bits);
  if (queue.is_cuda()) return cuda::squared_norm(queue, args);
  queue.run(1, [args, n, unit](int64_t) {  // one part: the order of the sum is the block's
    *args.sum = TROUPE_ISA_CALL(sum_of_squares)(values<int64_t>(args.gradient), n, unit);
  });
}

void squared_norms(Queue& queue, const SquaredNormsArgs& args) {
  const OperatorLabel label("squared_norm");
  if (args.block < 1) {
    throw KernelError("squared_norms block is " + std::to_string(args.block) + ", wanted 1 or more");
  }
  if (queue.is_cuda()) {
    for (const ConstTensor& g : args.gradients) {
      expect_shape("squared_norms gradient", g, DType::i64, {g.count()});
    }
    unit_of(args.scale_bits);
    return cuda::squared_norms(queue, args);
  }
  double* sum = args.sums;
  for (const ConstTensor& g : args.gradients) {
    for (int64_t first = 0; first < g.count(); first += args.block) {
      const int64_t n = std::min(args.block, g.count() - first);
      squared_norm(queue, {.gradient = reshape(columns(g, first, n), {n}), .scale_bits = args.scale_bits,
                           .sum = sum++});
    }
  }
}

float bias_correction(float beta, int64_t step) {
  double power = 1.0, square = beta;
  for (int64_t t = step; t > 0; t /= 2) {
    if (t % 2 == 1) power *= square;
    square *= square;
  }
  return static_cast<float>(1.0 - power);
}

void adamw(Queue& queue, const AdamWArgs& args) { adamw_blocks(queue, {args}); }

void adamw_blocks(Queue& queue, const std::vector<AdamWArgs>& blocks) {
  const OperatorLabel label("adamw");
  if (blocks.empty()) return;
  for (const AdamWArgs& args : blocks) check_adamw(queue, args, blocks[0]);
  if (queue.is_cuda()) return cuda::adamw_blocks(queue, blocks);
  for (const AdamWArgs& args : blocks) {
    const int64_t n = args.gradient.count(), groups = (n + 15) / 16;
    const double unit = unit_of(args.scale_bits);
    const int64_t parts = part_count(queue, groups, 16 * 16);
    queue.run(parts, [args, n, groups, parts, unit](int64_t part) {
      const auto [begin, end] = part_range(groups, parts, part);
      TROUPE_ISA_CALL(adamw_range)(args, unit, begin * 16, std::min(n, end * 16));
    });
  }
}

void update_ema(Queue& queue, const UpdateEmaArgs& args) {
  const OperatorLabel label("update_ema");
  const int64_t n = args.weight.count();
  expect_shape("update_ema weight", args.weight, DType::f32, {n});
  expect_shape("update_ema ema", args.ema, DType::f32, {n});
  expect_shape("update_ema new_ema", args.new_ema, DType::f32, {n});
  const int64_t groups = (n + 15) / 16;
  if (queue.is_cuda()) return cuda::update_ema(queue, args);
  const int64_t parts = part_count(queue, groups, 16 * 16);
  queue.run(parts, [args, n, groups, parts](int64_t part) {
    const auto [begin, end] = part_range(groups, parts, part);
    TROUPE_ISA_CALL(ema_range)(args, begin * 16, std::min(n, end * 16));
  });
}

double global_norm(std::span<const double> block_sums) {
  double sum = 0.0;
  for (double block : block_sums) sum += block;
  return std::sqrt(sum);
}

float clip_factor(double norm, double limit) {
  if (limit <= 0) return 1.0f;
  return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}  // namespace troupe::kernels

#else

/// Fixed-point gradients as f32: the integer rounded to f64, times 2^-s (exact), rounded to f32.
inline F16 load_gradient(const int64_t* p, int n, double unit) {
  int64_t padded[16];
  if (n < 16) {
    for (int i = 0; i < 16; ++i) padded[i] = i < n ? p[i] : 0;
    p = padded;
  }
  return to_float(load_int64(p) * set1_double(unit), load_int64(p + 8) * set1_double(unit));
}

/// Lane i takes elements i, i + 8, ...
inline double sum_of_squares(const int64_t* gradient, int64_t count, double unit) {
  D8 sum = set1_double(0.0);
  for_lanes(count, [&](int64_t i, int n) {
    const F16 g = load_gradient(gradient + i, n, unit);
    const D8 low = low_double(g), high = high_double(g);
    sum = fma(low, low, sum);
    sum = fma(high, high, sum);
  });
  return sum_lanes(sum);
}

/// A bf16 is the upper half of an f32.
inline F16 load_lanes(const uint16_t* p, int n) {
  float wide[16] = {};
  for (int i = 0; i < n; ++i) wide[i] = std::bit_cast<float>(static_cast<uint32_t>(p[i]) << 16);
  return load(wide);
}

/// Nearest even, in integers: half a step less one, plus the last bit that stays, carries into the
/// upper half. Infinity stays; NaN is made quiet, so that it stays NaN.
inline void store_lanes(uint16_t* p, F16 a, int n) {
  const I16 bits = as_int(a);
  const I16 odd = shift_right_arithmetic<16>(bits) & set1_int(1);
  const F16 rounded = as_float(bits + set1_int(0x7fff) + odd);
  const F16 quiet = as_float(bits | set1_int(0x00400000));
  const F16 infinity = set1(std::numeric_limits<float>::infinity());
  float wide[16];
  store(wide, select_less(a, infinity, rounded, select_less(zero(), a, a, quiet)));
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(wide[i]) >> 16);
}

inline void store_moment(float* p, F16 a, int n) { store_lanes_past_caches(p, a, n); }
inline void store_moment(uint16_t* p, F16 a, int n) { store_lanes(p, a, n); }

/// What is written is next read in another step, behind more than caches hold: it goes past them.
///
/// In this order, on every device:
///   g  = clip * gradient
///   m' = fma(b1, m, (1 - b1) * g)
///   v' = fma(b2, v, ((1 - b2) * g) * g)
///   d  = fma(-(lr * wd), w, w)
///   w' = fma(-lr, (m' / c1) / (sqrt(v' / c2) + eps), d)
template <class Moment>
inline void adamw_lanes(const AdamWArgs& args, double unit, int64_t begin, int64_t end) {
  const AdamWStep& step = args.step;
  const F16 clip = set1(step.clip), eps = set1(step.eps);
  const F16 b1 = set1(step.beta1), b2 = set1(step.beta2);
  const F16 rest1 = set1(1.0f - step.beta1), rest2 = set1(1.0f - step.beta2);
  const F16 c1 = set1(step.correction1), c2 = set1(step.correction2);
  const F16 minus_rate = set1(-step.learning_rate);
  const F16 minus_decay = set1(-(step.learning_rate * args.weight_decay));
  for_lanes(end - begin, [&](int64_t offset, int n) {
    const int64_t i = begin + offset;
    const F16 g = clip * load_gradient(values<int64_t>(args.gradient) + i, n, unit);
    const F16 m = fma(b1, load_lanes(values<Moment>(args.moment1) + i, n), rest1 * g);
    const F16 v = fma(b2, load_lanes(values<Moment>(args.moment2) + i, n), rest2 * g * g);
    const F16 w = load_lanes(values<float>(args.weight) + i, n);
    const F16 update = (m / c1) / (sqrt(v / c2) + eps);
    store_moment(values<Moment>(args.new_moment1) + i, m, n);
    store_moment(values<Moment>(args.new_moment2) + i, v, n);
    store_lanes_past_caches(values<float>(args.new_weight) + i,
                            fma(minus_rate, update, fma(minus_decay, w, w)), n);
  });
  _mm_sfence();
}

inline void adamw_range(const AdamWArgs& args, double unit, int64_t begin, int64_t end) {
  if (args.moment1.dtype == DType::bf16) {
    adamw_lanes<uint16_t>(args, unit, begin, end);
  } else {
    adamw_lanes<float>(args, unit, begin, end);
  }
}

inline void ema_range(const UpdateEmaArgs& args, int64_t begin, int64_t end) {
  const F16 rate = set1(args.rate);
  for_lanes(end - begin, [&](int64_t offset, int n) {
    const int64_t i = begin + offset;
    const F16 ema = load_lanes(values<float>(args.ema) + i, n);
    const F16 weight = load_lanes(values<float>(args.weight) + i, n);
    store_lanes(values<float>(args.new_ema) + i, fma(rate, weight - ema, ema), n);
  });
}

#endif
