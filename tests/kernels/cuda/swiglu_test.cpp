#include "kernels/ops/swiglu.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using SwigluCudaTest = GpuTest;

// Also where e^x overflows, underflows and is subnormal.
TEST_F(SwigluCudaTest, GivesTheCpusBitsForwardAndBackward) {
  for (const float scale : {1.0f, 60.0f, 1e-30f}) {
    const Buffer gate = normal({37, 131}, 1, scale), up = normal({37, 131}, 2);
    const Buffer dy = normal({37, 131}, 3);
    expect_twins([&](Side& side) {
      const Tensor g = side.in(gate), u = side.in(up), d = side.in(dy);
      const Tensor y = side.out({37, 131}), dgate = side.out({37, 131}), dup = side.out({37, 131});
      swiglu(side.queue, {.gate = g, .up = u, .y = y});
      swiglu_backward(side.queue, {.dy = d, .gate = g, .up = u, .dgate = dgate, .dup = dup});
      return side.bytes({y, dgate, dup});
    });
  }
}

// Rows that are read in whole eights.
TEST_F(SwigluCudaTest, GivesTheCpusBitsInAlignedRows) {
  const Buffer gate = normal({37, 264}, 1), up = normal({37, 264}, 2), dy = normal({37, 264}, 3);
  expect_twins([&](Side& side) {
    const Tensor g = side.plain(gate), u = side.plain(up), d = side.plain(dy);
    const Tensor y = side.out({37, 264}), dgate = side.out({37, 264}), dup = side.out({37, 264});
    swiglu(side.queue, {.gate = g, .up = u, .y = y});
    swiglu_backward(side.queue, {.dy = d, .gate = g, .up = u, .dgate = dgate, .dup = dup});
    return side.bytes({y, dgate, dup});
  });
}

}  // namespace
}  // namespace troupe::tests
