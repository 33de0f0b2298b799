#include "kernels/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/fixed_point.h"
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
  args.scale_bits = 63;
  EXPECT_THAT(kernel_error([&] { adamw(queue, args); }), HasSubstr("scale_bits 63"));
  EXPECT_THAT(kernel_error([&] {
                squared_norm(queue, {.gradient = eight.weight, .scale_bits = 50, .sum = &sum});
              }),
              HasSubstr("squared_norm gradient is [8] f32, wanted [8] i64"));
}

}  // namespace
}  // namespace troupe::tests
