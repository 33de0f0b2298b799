#if !defined(TROUPE_ISA_PASS)

#include "kernels/cuda/fixed_point.h"
#include "kernels/ops/fixed_point.h"
#include "kernels/profile.h"

#include <cstring>
#include <string>
#include <utility>

#define TROUPE_ISA_FILE "kernels/cpu/fixed_point.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

constexpr int64_t stride = FixedPointLocks::stride;

double power_of_two(int n) { return std::ldexp(1.0, n); }

void check_scale(int scale_bits, int64_t units) {
  if (scale_bits < 0 || scale_bits > 62) {
    throw KernelError("fixed point scale_bits " + std::to_string(scale_bits) + ", wanted 0 to 62");
  }
  if (units < 1 || units > (int64_t{1} << 53)) {
    throw KernelError("fixed point units " + std::to_string(units) + ", wanted 1 to 2^53");
  }
}

/// The least f32 that is out of range. Let q = 2^62 / U / 2^s, a real number. x is an f32, so
/// |x| >= q exactly if |x| >= the least f32 that is not below q: the test is then one comparison
/// without rounding. That f32 is found from the least f64 not below 2^62 / U: the quotient rounded
/// to nearest, or its successor where rounding went down (the FMA's sign is exact), times 2^-s
/// (exact), rounded up to f32.
float least_out_of_range(int scale_bits, int64_t units) {
  const double u = static_cast<double>(units);
  double bound = 0x1p62 / u;
  if (std::fma(bound, u, -0x1p62) < 0) bound = std::nextafter(bound, 0x1p63);
  bound *= power_of_two(-scale_bits);
  const float rounded = static_cast<float>(bound);
  if (static_cast<double>(rounded) >= bound) return rounded;
  return std::nextafter(rounded, std::numeric_limits<float>::infinity());
}

/// Which faults the dropped elements of x are.
uint32_t classify(const float* x, int64_t count, float bound) {
  uint32_t faults = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) {
      faults |= unit_not_finite;
    } else if (std::fabs(x[i]) >= bound) {
      faults |= unit_out_of_range;
    }
  }
  return faults;
}

void expect_flat(const char* what, const ConstTensor& t, DType dtype) {
  expect_shape(what, t, dtype, {t.rows(), t.cols()});
  if (!t.is_contiguous()) {
    throw KernelError(std::string(what) + " " + describe(t) + " has rows " +
                      std::to_string(t.row_stride) + " elements apart, wanted contiguous");
  }
}

void expect_same_count(const char* what, const ConstTensor& a, const ConstTensor& sum) {
  if (a.count() == sum.count()) return;
  throw KernelError(std::string(what) + " is " + describe(a) + ", but the sum is " + describe(sum) +
                    ": wanted as many elements");
}

}  // namespace

FixedPointRange fixed_point_range(int scale_bits, int64_t units) {
  check_scale(scale_bits, units);
  return {power_of_two(scale_bits), least_out_of_range(scale_bits, units)};
}

void accumulate_unit(Queue& queue, const AccumulateUnitArgs& args) {
  const OperatorLabel label("accumulate_unit");
  expect_flat("accumulate_unit unit", args.unit, DType::f32);
  expect_flat("accumulate_unit sum", args.sum, DType::i64);
  expect_same_count("accumulate_unit unit", args.unit, args.sum);
  const auto [scale, bound] = fixed_point_range(args.scale_bits, args.units);
  if (queue.is_cuda()) return cuda::accumulate_unit(queue, args, scale, bound);
  const int64_t count = args.unit.count(), chunks = (count + stride - 1) / stride;
  const int64_t parts = part_count(queue, chunks, 4 * stride);
  queue.run(parts, [args, scale = scale, bound = bound, count, chunks, parts](int64_t part) {
    const auto [begin, end] = part_range(chunks, parts, part);
    for (int64_t first = begin * stride; first < std::min(count, end * stride); first += stride) {
      const int64_t n = std::min(stride, count - first);
      const float* x = values<float>(args.unit) + first;
      std::unique_lock<std::mutex> lock;
      bool is_cleared = false;
      if (args.locks) {
        FixedPointLocks::Part& place = args.locks->of(first);
        lock = std::unique_lock(place.mutex);
        is_cleared = std::exchange(place.is_cleared, false);
      }
      const auto add = is_cleared ? TROUPE_ISA_CALL(store_range) : TROUPE_ISA_CALL(accumulate_range);
      if (add(x, values<int64_t>(args.sum) + first, n, scale, bound)) {
        args.faults->fetch_or(classify(x, n, bound), std::memory_order_relaxed);
      }
    }
  });
}

int64_t to_fixed_point(float value, int scale_bits, int64_t units, uint32_t& faults) {
  check_scale(scale_bits, units);
  const uint32_t fault = classify(&value, 1, least_out_of_range(scale_bits, units));
  faults |= fault;
  if (fault) return 0;
  return _mm_cvtsd_si64(_mm_set_sd(static_cast<double>(value) * power_of_two(scale_bits)));
}

double from_fixed_point(int64_t value, int scale_bits) {
  check_scale(scale_bits, 1);
  return static_cast<double>(value) * power_of_two(-scale_bits);
}

void add_fixed_point(Queue& queue, const AddFixedPointArgs& args) {
  const OperatorLabel label("add_fixed_point");
  expect_flat("add_fixed_point addend", args.addend, DType::i64);
  expect_flat("add_fixed_point sum", args.sum, DType::i64);
  expect_same_count("add_fixed_point addend", args.addend, args.sum);
  const int64_t count = args.sum.count();
  if (queue.is_cuda()) return cuda::add_fixed_point(queue, args);
  const int64_t parts = part_count(queue, count, 2);
  queue.run(parts, [args, count, parts](int64_t part) {
    const auto [begin, end] = part_range(count, parts, part);
    TROUPE_ISA_CALL(add_range)
    (values<int64_t>(args.addend) + begin, values<int64_t>(args.sum) + begin, end - begin);
  });
}

namespace {

void expect_rounded(const char* what, const RoundedSumArgs& args) {
  expect_flat(what, args.sum, DType::i64);
  expect_flat(what, args.rounded, DType::f32);
  expect_same_count(what, args.rounded, args.sum);
}

/// Calls f(sum, rounded) with each element of the two.
template <class F>
void for_each_element(Queue& queue, const RoundedSumArgs& args, F f) {
  const int64_t count = args.sum.count(), parts = part_count(queue, count, 2);
  queue.run(parts, [f, args, count, parts](int64_t part) {
    const auto [begin, end] = part_range(count, parts, part);
    for (int64_t i = begin; i < end; ++i) f(values<int64_t>(args.sum)[i], values<float>(args.rounded)[i]);
  });
}

}  // namespace

void round_sum(Queue& queue, const RoundedSumArgs& args) {
  const OperatorLabel label("round_sum");
  expect_rounded("round_sum", args);
  if (queue.is_cuda()) return cuda::round_sum(queue, args);
  for_each_element(queue, args, [](const int64_t& sum, float& rounded) {
    rounded = static_cast<float>(static_cast<double>(sum));
  });
}

void set_rounded_sum(Queue& queue, const RoundedSumArgs& args) {
  const OperatorLabel label("set_rounded_sum");
  expect_rounded("set_rounded_sum", args);
  if (queue.is_cuda()) return cuda::set_rounded_sum(queue, args);
  for_each_element(queue, args, [](int64_t& sum, const float& rounded) { sum = static_cast<int64_t>(rounded); });
}

}  // namespace troupe::kernels

#else

/// Wraps, and is never undefined: sums that could overflow are found per unit.
inline void add_range(const int64_t* addend, int64_t* sum, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    sum[i] = static_cast<int64_t>(static_cast<uint64_t>(sum[i]) + static_cast<uint64_t>(addend[i]));
  }
}

/// Calls `take(i, n, low, high)` with 16 elements times 2^s, of which n count. True if an element was not below
/// `bound` in size, or NaN, and so counts as zero.
template <class Take>
inline bool for_rounded(const float* x, int64_t count, double scale, float bound, Take take) {
  const I16 all_but_sign = set1_int(0x7fffffff);
  F16 dropped = zero();
  for_lanes(count, [&](int64_t i, int n) {
    const F16 value = load_lanes(x + i, n);
    const F16 size = as_float(as_int(value) & all_but_sign);
    const F16 kept = select_less(size, set1(bound), value, zero());
    dropped = greater_of(select_less(size, set1(bound), zero(), set1(1.0f)), dropped);
    // f32 to f64 and times 2^s are exact; the one rounding is to the integer, to nearest even.
    take(i, n, low_double(kept) * set1_double(scale), high_double(kept) * set1_double(scale));
  });
  return greatest_lane(dropped) > 0.0f;
}

inline bool accumulate_range(const float* x, int64_t* sum, int64_t count, double scale, float bound) {
  return for_rounded(x, count, scale, bound, [&](int64_t i, int n, D8 low, D8 high) {
    int64_t rounded[16];
    store_rounded(rounded, low);
    store_rounded(rounded + 8, high);
    if (n == 16) {
      add_range(rounded, sum + i, 16);
    } else {
      add_range(rounded, sum + i, n);
    }
  });
}

/// To where nothing is. It is next read behind more than caches hold, unless the model is small: it goes past them.
inline bool store_range(const float* x, int64_t* sum, int64_t count, double scale, float bound) {
  const bool is_aligned = reinterpret_cast<uintptr_t>(sum) % 64 == 0;
  const bool dropped = for_rounded(x, count, scale, bound, [&](int64_t i, int n, D8 low, D8 high) {
    if (n == 16 && is_aligned) {
      store_rounded_past_caches(sum + i, low);
      store_rounded_past_caches(sum + i + 8, high);
      return;
    }
    int64_t rounded[16];
    store_rounded(rounded, low);
    store_rounded(rounded + 8, high);
    std::memcpy(sum + i, rounded, static_cast<size_t>(n) * sizeof(int64_t));
  });
  _mm_sfence();
  return dropped;
}

#endif
