#include "runtime/model_shape.h"

#include "config/parameters.h"

namespace troupe::runtime {

kernels::Yarn kernel_yarn(const config::Yarn& yarn) {
  // Without mscale_all_dim, vectors are multiplied by m(1); m(0) is 1.
  const double mscale = yarn.mscale_all_dim() == 0 ? 1.0 : yarn.mscale();
  return {.factor = yarn.factor(),
          .original_positions = static_cast<double>(yarn.original_max_position()),
          .beta_fast = yarn.beta_fast(),
          .beta_slow = yarn.beta_slow(),
          .mscale = mscale,
          .mscale_all_dim = yarn.mscale_all_dim()};
}

kernels::ModelShape model_shape(const config::Model& model) {
  const bool is_mla = model.attention() == config::Model::MLA;
  const auto of_mla = [&](int32_t value) { return is_mla ? value : 0; };
  return {.vocabulary = model.vocab_size(),
          .hidden = model.hidden_size(),
          .layers = model.layers(),
          .dense_layers = model.dense_layers(),
          .heads = model.heads(),
          .q_lora = of_mla(model.q_lora_rank()),
          .kv_lora = of_mla(model.kv_lora_rank()),
          .nope = of_mla(model.qk_nope_head_dim()),
          .rope = is_mla ? model.qk_rope_head_dim() : model.head_dim(),
          .v_head = config::value_head_width(model),
          .dense_width = model.dense_intermediate_size(),
          .expert_width = model.expert_intermediate_size(),
          .experts = model.experts(),
          .shared_experts = model.shared_experts(),
          .groups = model.expert_groups(),
          .top_groups = model.top_groups(),
          .top_k = model.experts_per_token(),
          .normalize_top_k = model.norm_topk_prob(),
          .routed_scale = static_cast<float>(model.routed_scaling_factor()),
          .mtp_layers = model.mtp_layers(),
          .rms_eps = static_cast<float>(model.rms_norm_eps()),
          .rope_theta = model.rope_theta(),
          .yarn = model.has_yarn() ? std::optional(kernel_yarn(model.yarn())) : std::nullopt,
          .max_positions = model.max_positions(),
          .init_std = static_cast<float>(model.init_std()),
          .kv_heads = is_mla ? 0 : config::key_heads(model)};
}

}  // namespace troupe::runtime
