// MLA on tensor cores beside the CPU's, in bf16: other orders of the same sums and other places of
// rounding, so results are near, not equal.
#include "kernels/layers/attention/mla_sm90.h"

#include <gtest/gtest.h>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/layers/on_device.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t sequences = 2, rows = 150;

/// With a latent of 48 every width is one that goes in codes.
ModelShape shape_of(int64_t q_lora, int64_t kv_lora = 40) {
  ModelShape s = small_shape();
  s.hidden = 48;
  s.heads = 3;
  s.q_lora = q_lora;
  s.kv_lora = kv_lora;
  s.nope = 128;
  s.rope = 64;
  s.v_head = 128;
  return s;
}

/// What a layer gives on a device.
struct Results {
  std::vector<double> y, dx;
  std::vector<std::vector<double>> gradients;
};

class MlaSm90 : public LayerOnGpuTest {
 protected:
  /// `in_parts`: dx in two, which are added here.
  static Results run(const ModelShape& s, int64_t S, Device device, bool recompute = false,
                     Precision precision = Precision::bf16, bool in_parts = false) {
    ThreadPool pool(2);
    Queue queue(pool, device, device == Device::cuda ? Arithmetic::sm_90a : Arithmetic::cpu);
    Scratch scratch(device);
    const MlaTensors<Buffer> host = mla_weights(s);
    const RopeTable table = rope_table(rows, s.rope, s.rope_theta, s.yarn);
    RopeTable rope = table;
    rope.cosines.view = on_device(device, scratch, table.cosines);
    rope.sines.view = on_device(device, scratch, table.sines);
    const int64_t T = sequences * S;
    const Tensor x = on_device(device, scratch, normal({T, s.hidden}, 1));
    const Tensor dy = on_device(device, scratch, normal({T, s.hidden}, 2));
    const Tensor positions = scratch.i32({T});
    for (int64_t i = 0; i < T; ++i) {
      values<int32_t>(positions)[i] = static_cast<int32_t>(i % S);
    }
    const Tensor faults = scratch.shared(DType::i32, {1});
    *values<int32_t>(faults) = 0;
    MlaWeights weights;
    MlaGradients gradients;
    std::vector<Tensor> sums;
    const auto each = [&](const Buffer& from, ConstTensor& weight, GradientSum& gradient) {
      if (!from) return;
      weight = on_device(device, scratch, from);
      const Tensor sum = scratch.of(DType::i64, {from.view.rows(), from.view.cols()});
      zero_now(sum);
      gradient.sum = sum;
      gradient.scale_bits = 40;
      gradient.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
      sums.push_back(sum);
    };
    each(host.q_a, weights.q_a, gradients.q_a);
    each(host.q_a_norm, weights.q_a_norm, gradients.q_a_norm);
    each(host.q_b, weights.q_b, gradients.q_b);
    each(host.kv_a, weights.kv_a, gradients.kv_a);
    each(host.kv_a_norm, weights.kv_a_norm, gradients.kv_a_norm);
    each(host.kv_b, weights.kv_b, gradients.kv_b);
    each(host.o, weights.o, gradients.o);
    const MlaContext context{.shape = &s,
                             .rope = &rope,
                             .scale = softmax_scale(s.query_width(), s.yarn),
                             .precision = precision,
                             .recompute = recompute};
    const DType type = in_parts ? DType::bf16 : DType::f32;
    const Tensor y = scratch.f32({T, s.hidden}), dx = scratch.of(type, {T, s.hidden});
    const Tensor dx_more = in_parts ? scratch.of(type, {T, s.hidden}) : Tensor{};
    MlaSaved saved = mla_forward(queue, scratch,
                                 {.context = context,
                                  .weights = weights,
                                  .x = x,
                                  .positions = positions,
                                  .sequence_rows = S,
                                  .y = y});
    const MlaBackwardArgs args{.context = context,
                               .weights = weights,
                               .x = x,
                               .positions = positions,
                               .sequence_rows = S,
                               .dy = dy,
                               .dx = dx,
                               .dx_more = dx_more};
    const MlaDeltas deltas = mla_backward_inputs(queue, scratch, args, saved);
    mla_backward_weights(queue, scratch, args, saved, deltas, gradients);
    queue.wait();
    Results results{doubles_of(y), doubles_of(dx), {}};
    const Doubles more = in_parts ? doubles_of(dx_more) : Doubles();
    for (size_t i = 0; i < more.size(); ++i) results.dx[i] = static_cast<float>(results.dx[i] + more[i]);
    for (const Tensor& sum : sums) results.gradients.push_back(doubles_of(sum));
    return results;
  }
};

TEST_F(MlaSm90, GivesWhatTheCpuGivesWithinBf16) {
  for (const int64_t q_lora : {0, 32}) {
    const ModelShape s = shape_of(q_lora);

    const Results cpu = run(s, rows, Device::cpu), ours = run(s, rows, Device::cuda);

    EXPECT_LT(relative_difference(ours.y, cpu.y), 0.01);
    EXPECT_LT(relative_difference(ours.dx, cpu.dx), 0.02);
    ASSERT_EQ(ours.gradients.size(), cpu.gradients.size());
    for (size_t i = 0; i < cpu.gradients.size(); ++i) {
      EXPECT_LT(relative_difference(ours.gradients[i], cpu.gradients[i]), 0.02) << "tensor " << i;
    }
  }
}

// E4M3 has three bits of fraction: another rounding before a tile is scaled moves numbers to their
// neighbours, and scores as large as these make much of it. So both are compared with FP32.
TEST_F(MlaSm90, LosesInFp8WhatTheCpuLoses) {
  for (const ModelShape& s : {shape_of(0), shape_of(32), shape_of(32, 48)}) {
    const Results exact = run(s, rows, Device::cpu, false, Precision::fp32);

    const Results cpu = run(s, rows, Device::cpu, false, Precision::fp8);
    const Results ours = run(s, rows, Device::cuda, false, Precision::fp8);

    expect_like_loss(ours.y, cpu.y, exact.y, "y");
    expect_like_loss(ours.dx, cpu.dx, exact.dx, "dx");
    for (size_t i = 0; i < cpu.gradients.size(); ++i) {
      expect_like_loss(ours.gradients[i], cpu.gradients[i], exact.gradients[i],
                       "tensor " + std::to_string(i));
    }
  }
}

TEST_F(MlaSm90, ComputesTheSameBitsAgainAndInParts) {
  for (const ModelShape& s : {shape_of(32), shape_of(32, 48)}) {
    for (const Precision precision : {Precision::bf16, Precision::fp8}) {
      const Results once = run(s, rows, Device::cuda, false, precision);

      for (const bool recompute : {false, true}) {
        for (const bool in_parts : {false, true}) {
          const Results again = run(s, rows, Device::cuda, recompute, precision, in_parts);
          EXPECT_EQ(again.y, once.y);
          EXPECT_EQ(again.dx, once.dx);
          EXPECT_EQ(again.gradients, once.gradients);
        }
      }
    }
  }
}

}  // namespace
}  // namespace troupe::tests
