#include "kernels/ops/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "kernels/ops/fixed_point.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/optimizer.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

constexpr int scale_bits = 50;

/// Normal gradients as fixed-point integers.
Buffer gradient_of(int64_t n, uint32_t stream, double scale = 1.0) {
  Buffer buffer = allocate(DType::i64, {n});
  for (int64_t i = 0; i < n; ++i) {
    const double g = scale * random_normal({7, Purpose::test, stream, static_cast<uint64_t>(i)});
    values<int64_t>(buffer.view)[i] = std::llrint(std::ldexp(g, scale_bits));
  }
  return buffer;
}

AdamWStep step_of(int64_t t, float clip = 1.0f) {
  return {.learning_rate = 1e-3f,
          .beta1 = 0.9f,
          .beta2 = 0.95f,
          .eps = 1e-8f,
          .clip = clip,
          .correction1 = bias_correction(0.9f, t),
          .correction2 = bias_correction(0.95f, t)};
}

struct State {
  Buffer weight, moment1, moment2;
};

AdamWArgs args_of(int64_t t, const Buffer& gradient, const State& from, const State& to) {
  return {.step = step_of(t),
          .weight_decay = 0.1f,
          .gradient = gradient,
          .scale_bits = scale_bits,
          .weight = from.weight,
          .moment1 = from.moment1,
          .moment2 = from.moment2,
          .new_weight = to.weight,
          .new_moment1 = to.moment1,
          .new_moment2 = to.moment2};
}

State new_state(int64_t n) {
  return {normal({n}, 1), allocate_zeros(DType::f32, {n}), allocate_zeros(DType::f32, {n})};
}
State beside(int64_t n) { return {allocate_f32({n}), allocate_f32({n}), allocate_f32({n})}; }

TEST(Optimizer, FollowsPytorchsAdamWWithinRounding) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t n = 333;
  const State state = new_state(n);
  const auto start = to_doubles(state.weight);
  std::vector<reference::AdamWState> expected;
  for (const double w : start) expected.push_back({w, 0, 0});
  const reference::AdamWRecipe recipe{1e-3, 0.9, 0.95, 1e-8, 0.1};

  for (int t = 1; t <= 50; ++t) {
    const Buffer gradient = gradient_of(n, static_cast<uint32_t>(100 + t), t == 7 ? 40.0 : 0.01);
    adamw(queue, args_of(t, gradient, state, state));
    queue.wait();
    for (size_t i = 0; i < expected.size(); ++i) {
      const double g = from_fixed_point(values<int64_t>(gradient.view)[i], scale_bits);
      expected[i] = reference::adamw(expected[i], g, recipe, t);
    }
  }

  const auto w = to_doubles(state.weight), m = to_doubles(state.moment1),
             v = to_doubles(state.moment2);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(w[i], expected[i].weight,
                5e-6);  // 50 roundings of a number of size 1, and f32 betas
    EXPECT_NEAR(m[i], expected[i].moment1, 1e-5 * std::fabs(expected[i].moment1) + 1e-6);
    EXPECT_NEAR(v[i], expected[i].moment2, 1e-5 * expected[i].moment2);
  }
}

// The order written in the kernel, element by element: another device repeats it.
TEST(Optimizer, ComputesInTheDocumentedOrder) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t n = 1001;
  const State from{normal({n}, 1), normal({n}, 2, 0.1f), normal({n}, 3)}, to = beside(n);
  for (int64_t i = 0; i < n; ++i)
    values<float>(from.moment2.view)[i] *= values<float>(from.moment2.view)[i];
  const Buffer gradient = gradient_of(n, 4);
  AdamWArgs args = args_of(5, gradient, from, to);
  args.step.clip = 0.37f;

  adamw(queue, args);
  queue.wait();

  const auto ws = to_vector(from.weight), ms = to_vector(from.moment1),
             vs = to_vector(from.moment2);
  const AdamWStep& s = args.step;
  for (size_t i = 0; i < ws.size(); ++i) {
    const float g = s.clip * static_cast<float>(std::ldexp(
                                 static_cast<double>(values<int64_t>(gradient.view)[i]), -50));
    const float m = std::fma(s.beta1, ms[i], (1 - s.beta1) * g);
    const float v = std::fma(s.beta2, vs[i], ((1 - s.beta2) * g) * g);
    const float decayed = std::fma(-(s.learning_rate * 0.1f), ws[i], ws[i]);
    const float update = (m / s.correction1) / (std::sqrt(v / s.correction2) + s.eps);
    ASSERT_EQ(to_vector(to.moment1)[i], m);
    ASSERT_EQ(to_vector(to.moment2)[i], v);
    ASSERT_EQ(to_vector(to.weight)[i], std::fma(-s.learning_rate, update, decayed));
  }
}

// Laws 1 and 4: the same bits on every instruction set, cut anywhere, in place or beside.
TEST(Optimizer, GivesTheSameBitsInAnyArrangement) {
  const int64_t n = 65'536 + 7;
  const Buffer gradient = gradient_of(n, 4);
  const State from{normal({n}, 1), normal({n}, 2), normal({n}, 3)};
  for (int64_t i = 0; i < n; ++i)
    values<float>(from.moment2.view)[i] *= values<float>(from.moment2.view)[i];

  const auto all = expect_same_bits_everywhere([&](Queue& queue) {
    const State to = beside(n);
    adamw(queue, args_of(3, gradient, from, to));
    queue.wait();
    auto out = to_vector(to.weight);
    for (const Buffer& moment : {to.moment1, to.moment2}) {
      const auto more = to_vector(moment);
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  });

  ThreadPool pool(1);
  Queue queue(pool);
  const auto cut = [](const ConstTensor& t, int64_t first, int64_t count) {
    return reshape(columns(reshape(t, {1, t.count()}), first, count), {count});
  };
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{5, 1}, {17, 100}, {n - 3, 3}}) {
    const State to = beside(count);
    AdamWArgs args = args_of(3, gradient, from, to);
    for (ConstTensor* t : {&args.gradient, &args.weight, &args.moment1, &args.moment2}) {
      *t = cut(*t, first, count);
    }
    adamw(queue, args);
    queue.wait();
    EXPECT_TRUE(
        same_bits(to_vector(to.weight), {all.begin() + first, all.begin() + first + count}));
  }
  adamw(queue, args_of(3, gradient, from, from));
  queue.wait();
  EXPECT_TRUE(same_bits(to_vector(from.weight), {all.begin(), all.begin() + n}));
}

Buffer as_bf16(const Buffer& x) {
  Buffer out = allocate(DType::bf16, {x.view.count()});
  for (int64_t i = 0; i < x.view.count(); ++i) {
    values<uint16_t>(out.view)[i] = f32_to_bf16(values<float>(x.view)[i]);
  }
  return out;
}
Buffer as_f32(const Buffer& x) {
  Buffer out = allocate_f32({x.view.count()});
  for (int64_t i = 0; i < x.view.count(); ++i) {
    values<float>(out.view)[i] = bf16_to_f32(values<uint16_t>(x.view)[i]);
  }
  return out;
}
Buffer empty_bf16(int64_t n) { return allocate(DType::bf16, {n}); }

// bf16 moments are read exactly, computed with in f32 and rounded as they are stored, so the weight
// has the bits that f32 moments of the same values give it.
TEST(Optimizer, Bf16MomentsAreTheF32OnesRoundedToNearestEven) {
  const int64_t n = 65'536 + 7;
  const Buffer gradient = gradient_of(n, 4);
  State from{normal({n}, 1), as_bf16(normal({n}, 2)), as_bf16(normal({n}, 3))};
  for (int64_t i = 0; i < n; ++i) values<uint16_t>(from.moment2.view)[i] &= 0x7fff;
  const State wide{from.weight, as_f32(from.moment1), as_f32(from.moment2)}, wanted = beside(n);
  ThreadPool pool(1);
  Queue queue(pool);
  adamw(queue, args_of(3, gradient, wide, wanted));
  queue.wait();

  const auto found = expect_same_bits_everywhere([&](Queue& q) {
    const State to{allocate_f32({n}), empty_bf16(n), empty_bf16(n)};
    adamw(q, args_of(3, gradient, from, to));
    q.wait();
    auto out = to_vector(to.weight);
    for (const Buffer& moment : {to.moment1, to.moment2}) {
      const auto more = to_vector(as_f32(moment));
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  });

  const auto count = static_cast<std::ptrdiff_t>(n);
  EXPECT_TRUE(same_bits({found.begin(), found.begin() + count}, to_vector(wanted.weight)));
  EXPECT_TRUE(same_bits({found.begin() + count, found.begin() + 2 * count},
                        to_vector(as_f32(as_bf16(wanted.moment1)))));
  EXPECT_TRUE(same_bits({found.begin() + 2 * count, found.end()},
                        to_vector(as_f32(as_bf16(wanted.moment2)))));
}

/// moment1 after a step of beta1 from `from`, and gradients that are whole numbers.
std::vector<uint16_t> stored_moments(float beta1, const Buffer& gradient, const State& from) {
  const int64_t n = gradient.view.count();
  return expect_same_bits_everywhere([&](Queue& queue) {
    const State to{allocate_f32({n}), empty_bf16(n), empty_bf16(n)};
    AdamWArgs args = args_of(3, gradient, from, to);
    args.step.beta1 = beta1;
    args.scale_bits = 0;
    adamw(queue, args);
    queue.wait();
    const uint16_t* bits = values<uint16_t>(to.moment1.view);
    return std::vector<uint16_t>(bits, bits + n);
  });
}

// beta1 = 0: the new moment is the gradient. Numbers of 24 bits on, below and above every tie.
TEST(Optimizer, StoresATieAsTheEvenBf16) {
  std::vector<int64_t> numbers;
  for (int64_t upper = 128; upper < 256; ++upper) {
    for (const int64_t off : {-1, 0, 1}) {
      numbers.push_back((upper << 16) + 0x8000 + off);
      numbers.push_back(-numbers.back());
    }
  }
  const auto n = static_cast<int64_t>(numbers.size());
  const Buffer gradient = allocate(DType::i64, {n});
  const Buffer zeros = as_bf16(allocate_zeros(DType::f32, {n}));
  std::copy(numbers.begin(), numbers.end(), values<int64_t>(gradient.view));

  const auto found = stored_moments(0.0f, gradient, {normal({n}, 1), zeros, zeros});

  for (size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(found[i], f32_to_bf16(static_cast<float>(numbers[i]))) << numbers[i];
  }
}

// The largest numbers, the smallest, infinity and NaN.
TEST(Optimizer, StoresEveryNumberAsTheNearestBf16) {
  std::vector<float> numbers{0.0f, 1.0f, -1.0f, 3.4e38f, -3.4e38f, 1e-40f};
  numbers.insert(numbers.end(), {INFINITY, -INFINITY, NAN, std::bit_cast<float>(0x7f800001u)});
  for (uint32_t i = 0; i < 4096; ++i) numbers.push_back(std::bit_cast<float>(i * 1'048'583u));
  const auto n = static_cast<int64_t>(numbers.size());
  const Buffer gradient = allocate_zeros(DType::i64, {n}), moment = allocate_f32({n});
  std::copy(numbers.begin(), numbers.end(), values<float>(moment.view));
  const State from{normal({n}, 1), as_bf16(moment), as_bf16(moment)};
  const Buffer start = as_f32(from.moment1);

  const auto found = stored_moments(0.7f, gradient, from);

  for (size_t i = 0; i < numbers.size(); ++i) {
    const float wanted = std::fma(0.7f, values<float>(start.view)[i], 0.3f * 0.0f);
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(found[i]))) << numbers[i];
    } else {
      EXPECT_EQ(found[i], f32_to_bf16(wanted)) << numbers[i];
    }
  }
}

// Over many steps rounded moments stay near an f64 reference without rounding.
TEST(Optimizer, Bf16MomentsStayNearTheReference) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t n = 333;
  const Buffer zeros = allocate_zeros(DType::f32, {n});
  const State state{normal({n}, 1), as_bf16(zeros), as_bf16(zeros)};
  std::vector<reference::AdamWState> expected;
  for (const double w : to_doubles(state.weight)) expected.push_back({w, 0, 0});

  for (int t = 1; t <= 50; ++t) {
    const Buffer gradient = gradient_of(n, static_cast<uint32_t>(100 + t), 0.01);
    adamw(queue, args_of(t, gradient, state, state));
    queue.wait();
    for (size_t i = 0; i < expected.size(); ++i) {
      const double g = from_fixed_point(values<int64_t>(gradient.view)[i], scale_bits);
      expected[i] = reference::adamw(expected[i], g, {1e-3, 0.9, 0.95, 1e-8, 0.1}, t);
    }
  }

  const auto w = to_doubles(state.weight), m = to_doubles(as_f32(state.moment1)),
             v = to_doubles(as_f32(state.moment2));
  for (size_t i = 0; i < expected.size(); ++i) {
    // A bf16 is off by 2^-9 at most; ten steps of it are remembered, twenty of the second moment.
    EXPECT_NEAR(m[i], expected[i].moment1, 2e-4);
    EXPECT_NEAR(v[i], expected[i].moment2, 0.04 * expected[i].moment2);
    EXPECT_NEAR(w[i], expected[i].weight, 2e-3) << "50 steps of 1e-3";
  }
}

TEST(Optimizer, EmaFollowsItsFormulaAndTheReference) {
  const int64_t n = 65'536 + 7;
  const Buffer weight = normal({n}, 1), ema = normal({n}, 2);
  values<float>(ema.view)[3] = values<float>(weight.view)[3];

  const auto found = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer out = allocate_f32({n});
    update_ema(queue, {.rate = 0.01f, .weight = weight, .ema = ema, .new_ema = out});
    queue.wait();
    return to_vector(out);
  });

  for (size_t i = 0; i < found.size(); ++i) {
    const float w = values<float>(weight.view)[i], e = values<float>(ema.view)[i];
    ASSERT_EQ(found[i], std::fma(0.01f, w - e, e));
    ASSERT_NEAR(found[i], 0.99 * static_cast<double>(e) + 0.01 * static_cast<double>(w), 1e-6);
  }
  EXPECT_EQ(found[3], values<float>(weight.view)[3]) << "a weight that stays keeps its average";
}

TEST(Optimizer, SquaredNormIsTheSumOfSquares) {
  for (const int64_t n : {0, 1, 7, 8, 15, 16, 17, 65'536}) {
    const Buffer gradient = gradient_of(n, 4);

    const auto found = expect_same_bits_everywhere([&](Queue& queue) {
      std::vector<double> sum{-1.0};
      squared_norm(queue, {.gradient = gradient, .scale_bits = scale_bits, .sum = sum.data()});
      queue.wait();
      return sum;
    });

    double expected = 0, lanes[8] = {};
    for (int64_t i = 0; i < n; ++i) {
      const double g = static_cast<float>(
          std::ldexp(static_cast<double>(values<int64_t>(gradient.view)[i]), -scale_bits));
      expected += g * g;
      lanes[i % 8] = std::fma(g, g, lanes[i % 8]);
    }
    for (int width = 4; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    EXPECT_NEAR(found[0], expected, 1e-12 * expected);
    EXPECT_EQ(found[0], lanes[0]) << "the order is 8 lanes and their tree";
  }
}

TEST(Optimizer, GlobalNormAndClipFollowPytorch) {
  EXPECT_EQ(global_norm(std::vector<double>{9.0, 16.0}), 5.0);
  EXPECT_EQ(global_norm({}), 0.0);
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0f);
  EXPECT_EQ(clip_factor(4.0, 1.0), static_cast<float>(1.0 / (4.0 + 1e-6)));
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0f);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0f);
}

TEST(Optimizer, BiasCorrectionAgreesWithThePower) {
  for (const float beta : {0.9f, 0.95f, 0.999f}) {
    for (const int64_t t : {1, 2, 3, 10, 1000, 1'000'000}) {
      const double expected = 1 - std::pow(static_cast<double>(beta), static_cast<double>(t));
      EXPECT_FLOAT_EQ(bias_correction(beta, t), static_cast<float>(expected)) << beta << " " << t;
    }
  }
}

TEST(Optimizer, RefusesBlocksOfDifferentSizes) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer gradient = gradient_of(8, 1);
  const State eight = beside(8), seven = beside(7);
  double sum = 0;

  AdamWArgs args = args_of(1, gradient, eight, eight);
  args.moment2 = seven.moment2;
  EXPECT_THAT(kernel_error([&] { adamw(queue, args); }),
              HasSubstr("adamw moment2 is [7] f32, wanted [8] f32"));
  args = args_of(1, gradient, eight, eight);
  args.new_moment1 = empty_bf16(8);
  EXPECT_THAT(kernel_error([&] { adamw(queue, args); }),
              HasSubstr("adamw new_moment1 is [8] bf16, wanted [8] f32"));
  EXPECT_THAT(kernel_error([&] {
                update_ema(queue, {.rate = 0.1f, .weight = eight.weight, .ema = seven.weight,
                                   .new_ema = eight.moment1});
              }),
              HasSubstr("update_ema ema is [7] f32, wanted [8] f32"));
  args = args_of(1, gradient, eight, eight);
  args.scale_bits = 63;
  EXPECT_THAT(kernel_error([&] { adamw(queue, args); }), HasSubstr("scale_bits 63"));
  EXPECT_THAT(kernel_error([&] {
                squared_norm(queue, {.gradient = eight.weight, .scale_bits = 50, .sum = &sum});
              }),
              HasSubstr("squared_norm gradient is [8] f32, wanted [8] i64"));
}

}  // namespace
}  // namespace troupe::tests
