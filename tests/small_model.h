// Model shapes for tests: small ones with every part of the architecture, and the released model's.
#pragma once

#include "kernels/layers/params.h"

namespace troupe::tests {

/// One dense layer, one with 4 experts in 2 groups, one MTP module; no width is a multiple of a
/// vector's. About 4,000 parameters: small enough for finite differences and the portable path.
inline kernels::ModelShape small_shape() {
  return {.vocabulary = 23,
          .hidden = 12,
          .layers = 2,
          .dense_layers = 1,
          .heads = 2,
          .q_lora = 7,
          .kv_lora = 5,
          .nope = 3,
          .rope = 4,
          .v_head = 5,
          .dense_width = 9,
          .expert_width = 6,
          .experts = 4,
          .shared_experts = 1,
          .groups = 2,
          .top_groups = 1,
          .top_k = 2,
          .normalize_top_k = true,
          .routed_scale = 2.5f,
          .mtp_layers = 1,
          .rms_eps = 1e-6f,
          .rope_theta = 10000.0,
          .yarn = std::nullopt,
          .max_positions = 256,
          .init_std = 0.2f};
}

/// The same with grouped-query attention.
inline kernels::ModelShape small_gqa_shape(int64_t heads, int64_t kv_heads) {
  kernels::ModelShape shape = small_shape();
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.rope = shape.v_head = 6;
  shape.nope = shape.q_lora = shape.kv_lora = 0;
  return shape;
}

/// YaRN that stretches 32 positions to 256; its attention factor is not 1, so that it must show.
inline kernels::Yarn small_yarn() {
  return {.factor = 8.0,
          .original_positions = 32.0,
          .beta_fast = 4.0,
          .beta_slow = 1.0,
          .mscale = 1.0,
          .mscale_all_dim = 0.7};
}

/// DeepSeek-V3 as released. Source: inference/configs/config_671B.json.
inline kernels::ModelShape deepseek_v3_shape() {
  return {.vocabulary = 129280,
          .hidden = 7168,
          .layers = 61,
          .dense_layers = 3,
          .heads = 128,
          .q_lora = 1536,
          .kv_lora = 512,
          .nope = 128,
          .rope = 64,
          .v_head = 128,
          .dense_width = 18432,
          .expert_width = 2048,
          .experts = 256,
          .shared_experts = 1,
          .groups = 8,
          .top_groups = 4,
          .top_k = 8,
          .normalize_top_k = true,
          .routed_scale = 2.5f,
          .mtp_layers = 1,
          .rms_eps = 1e-6f,
          .rope_theta = 10000.0,
          .yarn = std::nullopt,
          .max_positions = 4096,
          .init_std = 0.006f};
}

}  // namespace troupe::tests
