// An attention block on tensor cores beside the CPU's: MLA leaves its dx in two parts there, which the
// norm's backward adds.
#include <gtest/gtest.h>

#include "kernels/layers/residual.h"
#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/layers/on_device.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr int64_t sequences = 2, rows = 150, T = sequences * rows;

ModelShape shape_of(int64_t q_lora) {
  ModelShape s = small_shape();
  s.hidden = 48;
  s.heads = 3;
  s.q_lora = q_lora;
  s.kv_lora = 48;
  s.nope = 128;
  s.rope = 64;
  s.v_head = 128;
  return s;
}

struct Results {
  Doubles y, dx, input_norm;
};

class AttentionBlockSm90 : public LayerOnGpuTest {
 protected:
  static Results run(const ModelShape& s, Device device, Precision precision) {
    ThreadPool pool(2);
    Queue queue(pool, device, device == Device::cuda ? Arithmetic::sm_90a : Arithmetic::cpu);
    Scratch scratch(device);
    MlaTensors<Buffer> host = mla_weights(s);
    const Buffer norm = normal({s.hidden}, 90);
    const RopeTable table = rope_table(rows, s.rope, s.rope_theta, s.yarn);
    RopeTable rope = table;
    rope.cosines.view = on_device(device, scratch, table.cosines);
    rope.sines.view = on_device(device, scratch, table.sines);
    const Tensor positions = scratch.i32({T});
    for (int64_t i = 0; i < T; ++i) values<int32_t>(positions)[i] = static_cast<int32_t>(i % rows);
    AttentionWeights weights;
    weights.input_norm = on_device(device, scratch, norm);
    weights.mla = mapped(host, [&](Buffer& from) {
      return from ? ConstTensor(on_device(device, scratch, from)) : ConstTensor{};
    });
    const Tensor faults = scratch.shared(DType::i32, {1});
    const Tensor sum = scratch.of(DType::i64, {norm.view.rows(), norm.view.cols()});
    *values<int32_t>(faults) = 0;
    zero_now(sum);
    AttentionGradients gradients;
    gradients.input_norm.sum = sum;
    gradients.input_norm.scale_bits = 40;
    gradients.input_norm.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
    const AttentionBlockArgs args{.context = {.shape = &s,
                                              .rope = &rope,
                                              .scale = softmax_scale(s.query_width(), s.yarn),
                                              .precision = precision},
                                  .weights = weights,
                                  .x = on_device(device, scratch, normal({T, s.hidden}, 91)),
                                  .positions = positions,
                                  .sequence_rows = rows};
    const Tensor dy = on_device(device, scratch, normal({T, s.hidden}, 92));
    const Tensor y = scratch.f32({T, s.hidden}), dx = scratch.f32({T, s.hidden});
    AttentionBlockSaved saved = attention_block_forward(queue, scratch, args, y);
    attention_block_backward_inputs(queue, scratch, args, saved, dy, dx);
    attention_block_backward_weights(queue, scratch, args, saved, dy, gradients);
    queue.wait();
    return {doubles_of(y), doubles_of(dx), doubles_of(sum)};
  }
};

TEST_F(AttentionBlockSm90, GivesWhatTheCpuGivesWithinBf16) {
  for (const int64_t q_lora : {0, 32}) {
    const ModelShape s = shape_of(q_lora);

    const Results cpu = run(s, Device::cpu, Precision::bf16), ours = run(s, Device::cuda, Precision::bf16);

    EXPECT_LT(relative_difference(ours.y, cpu.y), 0.01);
    EXPECT_LT(relative_difference(ours.dx, cpu.dx), 0.02);
    EXPECT_LT(relative_difference(ours.input_norm, cpu.input_norm), 0.02);
  }
}

TEST_F(AttentionBlockSm90, LosesInFp8WhatTheCpuLoses) {
  for (const int64_t q_lora : {0, 32}) {
    const ModelShape s = shape_of(q_lora);
    const Results exact = run(s, Device::cpu, Precision::fp32);

    const Results cpu = run(s, Device::cpu, Precision::fp8), ours = run(s, Device::cuda, Precision::fp8);

    expect_like_loss(ours.dx, cpu.dx, exact.dx, "dx");
    expect_like_loss(ours.input_norm, cpu.input_norm, exact.input_norm, "input_norm");
  }
}

}  // namespace
}  // namespace troupe::tests
