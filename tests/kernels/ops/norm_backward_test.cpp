// The gradients of kernels/ops/norm.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/norm.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// dx in the first T rows, dweight in the last.
Buffer gradients(Queue& queue, const ConstTensor& dy, const ConstTensor& x, const Buffer& weight) {
  const int64_t T = x.rows(), D = x.cols();
  const Buffer y = allocate_f32({T, D}), inverse = allocate_f32({T}),
               out = allocate_f32({T + 1, D});
  rms_norm(queue, {.x = x, .weight = weight, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
  rms_norm_backward_inputs(queue, {.dy = dy,
                                   .x = x,
                                   .weight = weight,
                                   .inverse_rms = inverse,
                                   .dx = row_range(out.view, 0, T)});
  rms_norm_backward_weights(queue, {.dy = dy,
                                    .x = x,
                                    .inverse_rms = inverse,
                                    .dweight = reshape(row_range(out.view, T, 1), {D})});
  queue.wait();
  return out;
}

TEST(NormBackward, AgreesWithFiniteDifferences) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t D : {1, 16, 37}) {
    const int64_t T = 4;
    const Buffer x = normal({T, D}, 1), weight = normal({D}, 2), dy = normal({T, D}, 3);
    const Doubles xs = to_doubles(x), ws = to_doubles(weight), dys = to_doubles(dy);

    const Buffer found = gradients(queue, dy, x, weight);

    const Doubles dx = finite_differences(
        [&](const Doubles& v) { return inner_product(reference::rms_norm(v, ws, 1e-6), dys); }, xs,
        1e-6);
    const Doubles dweight = finite_differences(
        [&](const Doubles& v) { return inner_product(reference::rms_norm(xs, v, 1e-6), dys); }, ws);
    const Doubles all = to_doubles(found);
    const Doubles found_dx(all.begin(), all.begin() + T * D);
    if (D > 1) {
      EXPECT_LT(relative_difference(found_dx, dx), 2e-6) << D;
    } else {  // y is the sign of x: dx is what rounding leaves of 0
      EXPECT_THAT(found_dx, testing::Each(testing::DoubleNear(0, 3e-5)));
    }
    EXPECT_LT(relative_difference({all.begin() + T * D, all.end()}, dweight), 1e-6) << D;
  }
}

// Law 1 for dx; law 2 for dweight: rows are added in order, whatever the parts.
TEST(NormBackward, GivesTheSameBitsInAnyArrangement) {
  const int64_t T = 700, D = 1003;
  const Buffer x = normal({T, D}, 1), weight = normal({D}, 2), dy = normal({T, D}, 3);

  const auto all = expect_same_bits_everywhere(
      [&](Queue& queue) { return to_vector(gradients(queue, dy, x, weight)); });

  ThreadPool pool(1);
  Queue queue(pool);
  for (const int64_t t : {int64_t{0}, int64_t{351}, T - 1}) {
    const Buffer alone =
        gradients(queue, row_range(ConstTensor(dy), t, 1), row_range(ConstTensor(x), t, 1), weight);
    EXPECT_TRUE(same_bits(to_vector(row_range(alone.view, 0, 1)),
                          {all.begin() + t * D, all.begin() + (t + 1) * D}));
  }
}

TEST(NormBackward, AddsTheGradientThatPassesBesideTheNorm) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({3, 20}, 1), weight = normal({20}, 2), dy = normal({3, 20}, 3), beside = normal({3, 20}, 4);
  const Buffer inverse = floats({0.5f, 1.0f, 2.0f}, {3}), found = allocate_f32({3, 20}), wanted = allocate_f32({3, 20});

  rms_norm_backward_inputs(queue, {.dy = dy, .x = x, .weight = weight, .inverse_rms = inverse, .residual = beside,
                                   .dx = found});
  rms_norm_backward_inputs(queue, {.dy = dy, .x = x, .weight = weight, .inverse_rms = inverse, .dx = wanted});
  add(queue, {.a = beside, .b = wanted, .y = wanted});
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(found), to_vector(wanted)));
}

TEST(NormBackward, MayWriteOverDy) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({3, 20}, 1), weight = normal({20}, 2), dy = normal({3, 20}, 3);
  const Buffer inverse = floats({0.5f, 1.0f, 2.0f}, {3}), dx = allocate_f32({3, 20});
  RmsNormBackwardArgs args{.dy = dy, .x = x, .weight = weight, .inverse_rms = inverse, .dx = dx};

  rms_norm_backward_inputs(queue, args);
  args.dx = dy;
  rms_norm_backward_inputs(queue, args);
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(dy), to_vector(dx)));
}

TEST(NormBackward, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = normal({3, 20}, 1), dy = normal({3, 19}, 2), weight = normal({20}, 3);

  const Buffer inverse = normal({3}, 4);

  EXPECT_THAT(kernel_error([&] {
                rms_norm_backward_inputs(
                    queue, {.dy = dy, .x = x, .weight = weight, .inverse_rms = inverse, .dx = x});
              }),
              HasSubstr("rms_norm_backward dy is [3, 19] f32, wanted [3, 20] f32"));
  EXPECT_THAT(kernel_error([&] {
                rms_norm_backward_weights(
                    queue, {.dy = x, .x = x, .inverse_rms = inverse, .dweight = inverse});
              }),
              HasSubstr("rms_norm_backward_weights dweight is [3] f32, wanted [20] f32"));
}

}  // namespace
}  // namespace troupe::tests
