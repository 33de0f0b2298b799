#include "kernels/ops/swiglu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/swiglu.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

TEST(Swiglu, AgreesWithTheReference) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t T = 9, F = 131;
  const Buffer gate = normal({T, F}, 1, 4.0f), up = normal({T, F}, 2), y = allocate_f32({T, F});

  swiglu(queue, {.gate = gate, .up = up, .y = y});
  queue.wait();

  const Doubles found = to_doubles(y), wanted = reference::swiglu(to_doubles(gate), to_doubles(up));
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], wanted[i], 6e-7 * std::fabs(wanted[i]));
  }
}

TEST(Swiglu, BackwardAgreesWithFiniteDifferences) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t T = 3, F = 37;
  const Buffer gate = normal({T, F}, 1, 2.0f), up = normal({T, F}, 2), dy = normal({T, F}, 3);
  const Buffer dgate = allocate_f32({T, F}), dup = allocate_f32({T, F});
  const Doubles gates = to_doubles(gate), ups = to_doubles(up), dys = to_doubles(dy);

  swiglu_backward(queue, {.dy = dy, .gate = gate, .up = up, .dgate = dgate, .dup = dup});
  queue.wait();

  const auto [dgates, dups] = reference::swiglu_backward(dys, gates, ups);
  EXPECT_LT(relative_difference(to_doubles(dgate), dgates), 6e-7);
  EXPECT_LT(relative_difference(to_doubles(dup), dups), 6e-7);
  EXPECT_LT(relative_difference(
                to_doubles(dgate),
                finite_differences(
                    [&](const Doubles& g) { return inner_product(reference::swiglu(g, ups), dys); },
                    gates)),
            1e-6);
  EXPECT_LT(relative_difference(to_doubles(dup), finite_differences(
                                                     [&](const Doubles& u) {
                                                       return inner_product(
                                                           reference::swiglu(gates, u), dys);
                                                     },
                                                     ups)),
            1e-6);
}

TEST(Swiglu, LargeGatesAreTheIdentityOrZero) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer gate = floats({200.0f, -200.0f, 1e30f, -1e30f}, {1, 4}),
               up = floats({1, 1, 1, 1}, {1, 4});
  const Buffer y = allocate_f32({1, 4}), dgate = allocate_f32({1, 4}), dup = allocate_f32({1, 4});

  swiglu(queue, {.gate = gate, .up = up, .y = y});
  swiglu_backward(queue, {.dy = up, .gate = gate, .up = up, .dgate = dgate, .dup = dup});
  queue.wait();

  EXPECT_THAT(to_vector(y), testing::ElementsAre(200.0f, 0.0f, 1e30f, 0.0f));
  EXPECT_THAT(to_vector(dup), testing::ElementsAre(200.0f, 0.0f, 1e30f, 0.0f));
  EXPECT_THAT(to_vector(dgate), testing::ElementsAre(1.0f, 0.0f, 1.0f, 0.0f));
}

// Law 1. Gate and up are halves of one matrix here, as a fused projection leaves them.
TEST(Swiglu, GivesTheSameBitsInAnyArrangement) {
  const int64_t T = 150, F = 1003;
  const Buffer both = normal({T, 2 * F}, 1, 3.0f), dy = normal({T, F}, 2);
  const ConstTensor gate = columns(ConstTensor(both), 0, F), up = columns(ConstTensor(both), F, F);

  const auto all = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer out = allocate_f32({3 * T, F});
    swiglu(queue, {.gate = gate, .up = up, .y = row_range(out.view, 0, T)});
    swiglu_backward(queue, {.dy = dy,
                            .gate = gate,
                            .up = up,
                            .dgate = row_range(out.view, T, T),
                            .dup = row_range(out.view, 2 * T, T)});
    queue.wait();
    return to_vector(out);
  });

  ThreadPool pool(1);
  Queue queue(pool);
  for (const int64_t t : {int64_t{0}, int64_t{71}, T - 1}) {
    const Buffer row = allocate_f32({1, F});
    swiglu(queue, {.gate = row_range(gate, t, 1), .up = row_range(up, t, 1), .y = row});
    queue.wait();
    EXPECT_TRUE(same_bits(to_vector(row), {all.begin() + t * F, all.begin() + (t + 1) * F}));
  }
}

TEST(Swiglu, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer a = normal({4, 8}, 1), b = normal({4, 7}, 2);

  EXPECT_THAT(kernel_error([&] { swiglu(queue, {.gate = a, .up = b, .y = a}); }),
              HasSubstr("swiglu up is [4, 7] f32, wanted [4, 8] f32"));
  EXPECT_THAT(kernel_error([&] {
                swiglu_backward(queue, {.dy = b, .gate = a, .up = a, .dgate = a, .dup = a});
              }),
              HasSubstr("swiglu_backward dy is [4, 7] f32, wanted [4, 8] f32"));
}

}  // namespace
}  // namespace troupe::tests
