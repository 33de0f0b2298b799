#include "kernels/ops/fixed_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops/optimizer.h"
#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();

Buffer zeros(int64_t n) { return allocate_zeros(DType::i64, {n}); }

/// What accumulating the values alone gives; the faults go to `faults`.
std::vector<int64_t> accumulated(const std::vector<float>& from, int scale_bits, int64_t units,
                                 uint32_t* faults = nullptr) {
  ThreadPool pool(1);
  Queue queue(pool);
  const int64_t n = static_cast<int64_t>(from.size());
  const Buffer unit = floats(from, {n}), sum = zeros(n);
  std::atomic<uint32_t> seen{0};
  accumulate_unit(queue, {.unit = unit,
                          .scale_bits = scale_bits,
                          .units = units,
                          .sum = sum,
                          .faults = &seen,
                          .locks = nullptr});
  queue.wait();
  if (faults) *faults = seen;
  return vector_of<int64_t>(sum);
}

TEST(FixedPoint, RoundsToTheNearestIntegerAndTiesToEven) {
  uint32_t faults = 9;

  const auto sum =
      accumulated({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.75f, -0.0f, 3.0f}, 0, 1, &faults);

  EXPECT_THAT(sum, testing::ElementsAre(0, 2, 2, 0, -2, -2, 1, 0, 3));
  EXPECT_EQ(faults, 0u);
}

TEST(FixedPoint, HoldsEveryFloatOfItsRangeThatIsAMultipleOfTheUnit) {
  const float values[] = {1.0f, -1.0f, 0x1.fffffep8f, 0x1.000002p-27f, -0x1p-50f, 0x1.8p-50f};

  const auto sum = accumulated({std::begin(values), std::end(values)}, 50, 8);

  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(from_fixed_point(sum[i], 50), values[i]);
  EXPECT_EQ(sum[5], 2);  // 1.5 units
}

// Law 2: sums over units have no order, so a shuffled order gives the same integers.
TEST(FixedPoint, UnitsInAnyOrderGiveTheSameSum) {
  const int64_t units = 24, n = 1000;
  std::vector<Buffer> gradients;
  for (uint32_t u = 0; u < units; ++u) gradients.push_back(normal({n}, u, u % 3 ? 1.0f : 1e-6f));
  ThreadPool pool(2);
  Queue queue(pool);
  std::vector<std::vector<int64_t>> sums;
  for (uint32_t shuffle = 0; shuffle < 5; ++shuffle) {
    std::vector<size_t> order(units);
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size() - 1; shuffle > 0 && i > 0; --i) {
      std::swap(order[i], order[random_below({1, Purpose::test, shuffle, i}, i + 1)]);
    }
    const Buffer sum = zeros(n);
    std::atomic<uint32_t> faults{0};
    for (const size_t u : order) {
      accumulate_unit(queue, {.unit = gradients[u],
                              .scale_bits = 50,
                              .units = units,
                              .sum = sum,
                              .faults = &faults,
                              .locks = nullptr});
    }
    queue.wait();
    EXPECT_EQ(faults, 0u);
    sums.push_back(vector_of<int64_t>(sum));
  }

  for (const auto& sum : sums) EXPECT_EQ(sum, sums[0]);
  double expected = 0;
  for (const Buffer& g : gradients) expected += to_doubles(g)[17];
  EXPECT_NEAR(from_fixed_point(sums[0][17], 50), expected, 1e-13);
}

// Law 2: the same through partial sums, as a reduction tree would have it.
TEST(FixedPoint, PartialSumsAddedGiveTheSameSum) {
  const int64_t n = 70'001;
  const Buffer a = normal({n}, 1), b = normal({n}, 2), c = normal({n}, 3);

  const auto tree = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer left = zeros(n), right = zeros(n);
    std::atomic<uint32_t> faults{0};
    for (const auto& [unit, sum] : {std::pair{a, left}, {b, right}, {c, right}}) {
      accumulate_unit(queue, {.unit = unit,
                              .scale_bits = 50,
                              .units = 3,
                              .sum = sum,
                              .faults = &faults,
                              .locks = nullptr});
    }
    add_fixed_point(queue, {.addend = right, .sum = left});
    queue.wait();
    return vector_of<int64_t>(left);
  });

  const auto as = to_vector(a), bs = to_vector(b), cs = to_vector(c);
  for (size_t i = 0; i < as.size(); ++i) {
    uint32_t faults = 0;
    EXPECT_EQ(tree[i], to_fixed_point(cs[i], 50, 3, faults) + to_fixed_point(as[i], 50, 3, faults) +
                           to_fixed_point(bs[i], 50, 3, faults));
  }
}

/// Of less than a vector, whole ones and more than a part, aligned and not: the sum that a part of zeros gives.
TEST(FixedPoint, AClearedPartTakesAUnitAsItIsWithoutReadingWhatStandsThere) {
  const IsaGuard guard;
  constexpr int64_t whole = FixedPointLocks::stride;
  const auto rounded = [](const Buffer& unit, int64_t count, int64_t from, bool is_cleared, uint32_t& faults) {
    ThreadPool pool(2);
    Queue queue(pool);
    const Buffer sum = zeros(count + from);
    if (is_cleared) std::fill_n(values<int64_t>(sum.view), count + from, int64_t{-77});
    FixedPointLocks locks(count);
    for (int64_t i = 0; i < count; i += whole) locks.of(i).is_cleared = is_cleared;
    std::atomic<uint32_t> found{0};
    const Tensor part = tensor(values<int64_t>(sum.view) + from, {count});
    accumulate_unit(queue, {.unit = tensor(values<float>(unit.view), {count}), .scale_bits = 40, .units = 3,
                            .sum = part, .faults = &found, .locks = &locks});
    queue.wait();
    faults = found;
    EXPECT_FALSE(locks.of(0).is_cleared);
    EXPECT_FALSE(locks.of(count - 1).is_cleared);
    return std::vector<int64_t>(values<int64_t>(part), values<int64_t>(part) + count);
  };
  const Buffer unit = normal({whole + 41}, 1);
  values<float>(unit.view)[3] = 1e30f;
  values<float>(unit.view)[7] = std::numeric_limits<float>::quiet_NaN();
  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    for (const int64_t count : {int64_t{1}, int64_t{15}, int64_t{16}, int64_t{17}, int64_t{100}, whole, whole + 41}) {
      for (const int64_t from : {0, 1, 8}) {
        uint32_t wanted = 0, faults = 0;
        const auto added = rounded(unit, count, from, false, wanted);
        EXPECT_EQ(rounded(unit, count, from, true, faults), added)
            << to_string(isa) << " " << count << " from " << from;
        EXPECT_EQ(faults, wanted);
      }
    }
  }
}

TEST(FixedPoint, SeveralQueuesAddToOneSumUnderLocks) {
  const int64_t n = FixedPointLocks::stride + 5;
  ThreadPool pool(4);
  std::vector<std::unique_ptr<Queue>> queues;
  for (int i = 0; i < 4; ++i) queues.push_back(std::make_unique<Queue>(pool));
  const Buffer unit = normal({n}, 1), sum = zeros(n), alone = zeros(n);
  FixedPointLocks locks(n);
  std::atomic<uint32_t> faults{0};

  for (int round = 0; round < 400; ++round) {
    for (auto& queue : queues) {
      accumulate_unit(*queue, {.unit = unit,
                               .scale_bits = 40,
                               .units = 2000,
                               .sum = sum,
                               .faults = &faults,
                               .locks = &locks});
    }
  }
  for (auto& queue : queues) queue->wait();
  accumulate_unit(*queues[0], {.unit = unit,
                               .scale_bits = 40,
                               .units = 2000,
                               .sum = alone,
                               .faults = &faults,
                               .locks = &locks});
  queues[0]->wait();

  auto expected = vector_of<int64_t>(alone);
  for (int64_t& x : expected) x *= 1600;
  EXPECT_EQ(vector_of<int64_t>(sum), expected);
}

// Law 2: out of range exactly when |x| * 2^s >= 2^62 / U, for U that divide 2^62 and others: the
// quotient rounded to f32 is below it for 25 and above it for 3; for the last one, U times a float
// is 2^62 - 4, nearer than an f64 can tell.
TEST(FixedPoint, TheRangeEndsExactlyAtItsBoundary) {
  const IsaGuard guard;
  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    for (const int s : {0, 8, 42, 50, 62}) {
      for (const int64_t units :
           std::vector<int64_t>{1, 2, 3, 5, 7, 8, 25, 1000, 999'983, 1'099'512'676'353}) {
        // The least float out of range, in exact integers: m * 2^e with 2^23 <= m < 2^24.
        __extension__ using Wide = unsigned __int128;
        int e = 62 - s;
        for (; std::ldexp(1.0L, e) * units > std::ldexp(1.0L, 62 - s - 23); --e) {
        }
        uint64_t m = 0;
        const auto reaches = [&](uint64_t mantissa) {  // mantissa * 2^e * U >= 2^(62 - s)
          return Wide{mantissa} * static_cast<Wide>(units) >= (Wide{1} << (62 - s - e));
        };
        for (int bit = 24; bit >= 0; --bit) {
          if (!reaches(m + (uint64_t{1} << bit))) m += uint64_t{1} << bit;
        }
        const float least = std::ldexp(static_cast<float>(m + 1), e);
        const float below = std::nextafter(least, 0.0f);
        ASSERT_TRUE(m + 1 <= (1u << 24));

        uint32_t faults = 0;
        const auto inside = accumulated({below, -below}, s, units, &faults);
        EXPECT_EQ(faults, 0u) << "s " << s << " U " << units;
        EXPECT_EQ(inside[0], std::llrint(std::ldexp(static_cast<double>(below), s)));
        EXPECT_EQ(inside[1], -inside[0]);
        EXPECT_LE(static_cast<Wide>(inside[0]) * static_cast<Wide>(units),
                  (Wide{1} << 62) + static_cast<Wide>(units));
        for (const float x : {least, -least}) {
          EXPECT_EQ(accumulated({0.0f, x, 0.0f}, s, units, &faults),
                    (std::vector<int64_t>{0, 0, 0}));
          EXPECT_EQ(faults, unit_out_of_range) << "s " << s << " U " << units;
          uint32_t scalar = 0;
          EXPECT_EQ(to_fixed_point(x, s, units, scalar), 0);
          EXPECT_EQ(scalar, unit_out_of_range);
          scalar = 0;
          EXPECT_NE(to_fixed_point(std::nextafter(x, 0.0f), s, units, scalar), 0);
          EXPECT_EQ(scalar, 0u);
        }
      }
    }
  }
}

TEST(FixedPoint, FaultyElementsAddNothingAndOthersStillCount) {
  const IsaGuard guard;
  for (const cpu::Isa isa : cpu::available_isas()) {
    cpu::force_isa(isa);
    for (size_t at = 0; at < 37; ++at) {
      for (const auto& [bad, fault] : {std::pair{infinity, unit_not_finite},
                                       {-infinity, unit_not_finite},
                                       {std::nanf(""), unit_not_finite},
                                       {-std::nanf(""), unit_not_finite},
                                       {1e30f, unit_out_of_range},
                                       {-1e30f, unit_out_of_range}}) {
        std::vector<float> unit(37, 2.0f);
        unit[at] = bad;
        std::vector<int64_t> expected(37, 8);
        expected[at] = 0;

        uint32_t faults = 0;
        EXPECT_EQ(accumulated(unit, 2, 1, &faults), expected) << to_string(isa) << " " << bad;
        EXPECT_EQ(faults, fault);
        faults = 0;
        EXPECT_EQ(to_fixed_point(bad, 2, 1, faults), 0);
        EXPECT_EQ(faults, fault);
      }
    }
  }
  uint32_t faults = 0;
  accumulated({infinity, 1e30f}, 2, 1, &faults);
  EXPECT_EQ(faults, unit_not_finite | unit_out_of_range);
}

TEST(FixedPoint, AdditionWrapsInsteadOfBeingUndefined) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer a = allocate(DType::i64, {1}), b = allocate(DType::i64, {1});
  values<int64_t>(a.view)[0] = values<int64_t>(b.view)[0] = std::numeric_limits<int64_t>::max();

  add_fixed_point(queue, {.addend = a, .sum = b});
  queue.wait();

  EXPECT_EQ(values<int64_t>(b.view)[0], -2);
}

TEST(FixedPoint, ComesBackAsTheNearestDouble) {
  EXPECT_EQ(from_fixed_point(1, 50), 0x1p-50);
  EXPECT_EQ(from_fixed_point(-3, 1), -1.5);
  EXPECT_EQ(from_fixed_point((int64_t{1} << 53) + 1, 0), 0x1p53);
  EXPECT_EQ(from_fixed_point(std::numeric_limits<int64_t>::min(), 62), -2.0);
}

// Commit law: who gets a sum rounded makes the same update of it as who has it whole.
TEST(FixedPoint, ARoundedSumIsWhatAnUpdateTakesOfIt) {
  std::vector<int64_t> sums{0, 1, -1, (1 << 24) + 1, -(1 << 24) - 1, (int64_t{1} << 53) + 1, (int64_t{1} << 61) + 7};
  uint64_t bits = 7;
  for (int i = 0; i < 5000; ++i) {
    bits = (bits ^ bits >> 29) * 0x9e3779b97f4a7c15u + 1;
    sums.push_back(static_cast<int64_t>(bits) >> (2 + i % 60));  // of all sizes below 2^62
  }
  const auto n = static_cast<int64_t>(sums.size());
  const Buffer whole = allocate(DType::i64, {n});
  std::copy(sums.begin(), sums.end(), values<int64_t>(whole.view));
  const Buffer weight = normal({n}, 1), moment1 = normal({n}, 2), moment2 = allocate_f32({n});
  std::fill_n(values<float>(moment2.view), n, 0.25f);
  const auto updated = [&](Queue& queue, const Buffer& sum) {
    const Buffer out = allocate_f32({n}), m = allocate_f32({n}), v = allocate_f32({n});
    adamw(queue, {.step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.7f, 0.1f, 0.05f}, .weight_decay = 0.1f, .gradient = sum,
                  .scale_bits = 50, .weight = weight, .moment1 = moment1, .moment2 = moment2, .new_weight = out,
                  .new_moment1 = m, .new_moment2 = v});
    queue.wait();
    return std::tuple(to_vector(out), to_vector(m), to_vector(v));
  };
  expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer rounded = allocate_f32({n}), back = allocate(DType::i64, {n});
    round_sum(queue, {.sum = whole, .rounded = rounded});
    set_rounded_sum(queue, {.sum = back, .rounded = rounded});
    queue.wait();
    for (size_t i = 0; i < sums.size(); ++i) {
      EXPECT_EQ(to_vector(rounded)[i], static_cast<float>(static_cast<double>(sums[i]))) << sums[i];
      if (i > 20) break;
    }
    EXPECT_EQ(updated(queue, back), updated(queue, whole));
    return vector_of<int64_t>(back);
  });
}

TEST(FixedPoint, RefusesWhatItCannotAdd) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer unit = normal({4, 6}, 1), sum = zeros(24), small = zeros(23);
  std::atomic<uint32_t> faults{0};
  AccumulateUnitArgs args{
      .unit = unit, .scale_bits = 50, .units = 1, .sum = sum, .faults = &faults, .locks = nullptr};
  const auto error = [&] { return kernel_error([&] { accumulate_unit(queue, args); }); };

  accumulate_unit(queue, args);  // another shape of as many elements is fine
  queue.wait();
  args.scale_bits = 63;
  EXPECT_THAT(error(), HasSubstr("scale_bits 63, wanted 0 to 62"));
  args.scale_bits = -1;
  EXPECT_THAT(error(), HasSubstr("scale_bits -1"));
  args.scale_bits = 50;
  args.units = 0;
  EXPECT_THAT(error(), HasSubstr("units 0"));
  args.units = 1;
  args.sum = small;
  EXPECT_THAT(error(), HasSubstr("unit is [4, 6] f32, but the sum is [23] i64"));
  args.unit = columns(ConstTensor(unit), 0, 5);
  EXPECT_THAT(error(), HasSubstr("wanted contiguous"));
  args.unit = sum;
  EXPECT_THAT(error(), HasSubstr("unit is [24] i64"));
  EXPECT_THAT(kernel_error([&] { add_fixed_point(queue, {.addend = small, .sum = sum}); }),
              HasSubstr("addend is [23] i64, but the sum is [24] i64"));
  EXPECT_THAT(kernel_error([&] { round_sum(queue, {.sum = small, .rounded = unit}); }),
              HasSubstr("round_sum is [4, 6] f32, but the sum is [23] i64"));
}

}  // namespace
}  // namespace troupe::tests
