#include "kernels/ops/swiglu.h"

#include <bit>

#include "kernels/ops/quantize.h"
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

// The sigmoid has a short way where its exponential is no extreme number: every bfloat16 there is, alone and
// beside others, and f32 around the ends of that way.
TEST_F(SwigluCudaTest, GivesTheCpusBitsForEveryGate) {
  const int64_t rows = 2 * 256 + 2;
  const Buffer gate = allocate_f32({rows, 256}), up = normal({rows, 256}, 2);
  float* const gates = values<float>(gate.view);
  for (int64_t i = 0; i < 65536; ++i) {
    gates[i] = bf16_to_f32(static_cast<uint16_t>(i));
    gates[65536 + i] = bf16_to_f32(static_cast<uint16_t>(i * 40503));  // in another company
  }
  for (int64_t i = 0; i < 512; ++i) {
    const int64_t ulps = i / 2 - 128;
    const float end = std::bit_cast<float>(std::bit_cast<int32_t>(86.0f) + static_cast<int32_t>(ulps));
    gates[131072 + i] = i % 2 ? end : -end;
  }
  expect_twins([&](Side& side) {
    const Tensor g = side.plain(gate), u = side.plain(up), y = side.out({rows, 256});
    swiglu(side.queue, {.gate = g, .up = u, .y = y});
    return side.bytes({y});
  });
}

}  // namespace
}  // namespace troupe::tests
