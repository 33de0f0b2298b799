#include "kernels/ops/norm.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using NormCudaTest = GpuTest;

TEST_F(NormCudaTest, GivesTheCpusBitsForwardAndBackward) {
  for (const auto& [T, D] :
       {std::array<int64_t, 2>{1, 1}, {3, 15}, {7, 16}, {130, 257}, {9, 4096}, {0, 8}}) {
    const Buffer x = normal({T, D}, 1), weight = normal({D}, 2), dy = normal({T, D}, 3, 1e-20f);
    expect_twins([&](Side& side) {
      const Tensor on = side.in(x), w = side.plain(weight), on_dy = side.in(dy);
      const Tensor y = side.out({T, D}), inverse = side.out({T}), dx = side.out({T, D});
      const Tensor dweight = side.out({D});
      rms_norm(side.queue, {.x = on, .weight = w, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
      rms_norm_backward_inputs(
          side.queue, {.dy = on_dy, .x = on, .weight = w, .inverse_rms = inverse, .dx = dx});
      const Tensor beside = side.out({T, D});
      rms_norm_backward_inputs(side.queue, {.dy = on_dy, .x = on, .weight = w, .inverse_rms = inverse,
                                            .residual = dx, .dx = beside});
      rms_norm_backward_weights(side.queue,
                                {.dy = on_dy, .x = on, .inverse_rms = inverse, .dweight = dweight});
      rms_norm(side.queue, {.x = on, .weight = w, .eps = 1e-6f, .y = on, .inverse_rms = inverse});
      return side.bytes({y, inverse, dx, beside, dweight, on});
    });
  }
}

}  // namespace
}  // namespace troupe::tests
