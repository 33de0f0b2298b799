#include "config/checks.h"
#include "config/parameters.h"
#include "config/schedule_checks.h"
#include "config/validate.h"

namespace troupe::config {

namespace {

// Far above any model, and low enough that no product of three overflows.
constexpr int32_t largest_width = 1 << 20;
constexpr int32_t largest_vocabulary = 1 << 24;
constexpr int32_t most_layers = 1000;
constexpr int32_t most_mtp_layers = 4;
constexpr int32_t most_experts = 1 << 16;
constexpr int64_t most_experts_in_all = 1 << 18;
constexpr int64_t most_parameters = int64_t{1} << 45;

void check_sizes(const Model& model, Checks& checks) {
  checks.in_range("vocab_size", model.vocab_size(), 2, largest_vocabulary);
  checks.in_range("hidden_size", model.hidden_size(), 1, largest_width);
  checks.in_range("layers", model.layers(), 1, most_layers);
  checks.in_range("dense_layers", model.dense_layers(), 0, std::max(model.layers(), 0));
  checks.in_range("mtp_layers", model.mtp_layers(), 0, most_mtp_layers);
  checks.in_range("max_positions", model.max_positions(), 2, longest_sequence);
  checks.positive("rms_norm_eps", model.rms_norm_eps());
  checks.not_negative("init_std", model.init_std());
}

void check_latent_attention(const Model& model, Checks& checks) {
  checks.in_range("q_lora_rank", model.q_lora_rank(), 0, largest_width);
  checks.in_range("kv_lora_rank", model.kv_lora_rank(), 1, largest_width);
  checks.in_range("qk_nope_head_dim", model.qk_nope_head_dim(), 1, 1 << 14);
  checks.in_range("qk_rope_head_dim", model.qk_rope_head_dim(), 2, 1 << 14);
  if (model.qk_rope_head_dim() % 2 != 0) {
    checks.add("qk_rope_head_dim", fmt::format("{}", model.qk_rope_head_dim()),
               "an even number: rotary positions turn pairs");
  }
  checks.in_range("v_head_dim", model.v_head_dim(), 1, 1 << 14);
  const auto refuse = [&](const char* field, bool is_set, int32_t value) {
    if (is_set) checks.add(field, fmt::format("{}", value), "nothing, or attention GQA or MHA");
  };
  refuse("kv_heads", model.has_kv_heads(), model.kv_heads());
  refuse("head_dim", model.has_head_dim(), model.head_dim());
}

/// GQA and MHA.
void check_grouped_attention(const Model& model, Checks& checks) {
  checks.in_range("head_dim", model.head_dim(), 2, 1 << 14);
  if (model.head_dim() % 2 != 0) {
    checks.add("head_dim", fmt::format("{}", model.head_dim()),
               "an even number: rotary positions turn pairs");
  }
  const bool is_mha = model.attention() == Model::MHA;
  const int32_t keys = is_mha && !model.has_kv_heads() ? model.heads() : model.kv_heads();
  if (is_mha && keys != model.heads()) {
    checks.add("kv_heads", fmt::format("{}", keys),
               fmt::format("nothing, or heads, {}: attention is MHA", model.heads()));
  } else if (keys < 1 || model.heads() % keys != 0) {
    checks.add("kv_heads", model.has_kv_heads() ? fmt::format("{}", keys) : "nothing",
               fmt::format("a divisor of heads, {}", model.heads()));
  }
}

void check_attention(const Model& model, Checks& checks) {
  checks.in_range("heads", model.heads(), 1, 1 << 14);
  if (model.attention() == Model::MLA) {
    check_latent_attention(model, checks);
  } else {
    check_grouped_attention(model, checks);
  }
  checks.positive("rope_theta", model.rope_theta());
  if (!model.has_yarn()) return;
  check_yarn(model.yarn(), "yarn", checks);
}

void check_groups(const Model& model, Checks& checks) {
  const int32_t experts = model.experts();
  const int32_t groups = model.expert_groups();
  if (experts < 1 || groups < 1) return;
  if (experts % groups != 0) {
    checks.add("expert_groups", fmt::format("{}", groups),
               fmt::format("a divisor of experts, {}", experts));
    return;
  }
  const int32_t group_size = experts / groups;
  if (group_size < 2) {
    checks.add("expert_groups", fmt::format("{}", groups),
               fmt::format("at most {}: a group is chosen by its two best experts", experts / 2));
  }
  checks.in_range("top_groups", model.top_groups(), 1, groups);
  const int64_t reachable = int64_t{model.top_groups()} * group_size;
  if (model.top_groups() >= 1 && model.experts_per_token() > reachable) {
    checks.add("experts_per_token", fmt::format("{}", model.experts_per_token()),
               fmt::format("at most {}: top_groups {} of {} experts each", reachable,
                           model.top_groups(), group_size));
  }
}

void check_experts(const Model& model, Checks& checks) {
  if (model.dense_layers() > 0) {
    checks.in_range("dense_intermediate_size", model.dense_intermediate_size(), 1, largest_width);
  }
  if (model.dense_layers() >= model.layers() && model.mtp_layers() == 0) return;
  checks.in_range("expert_intermediate_size", model.expert_intermediate_size(), 1, largest_width);
  checks.in_range("experts", model.experts(), 1, most_experts);
  checks.in_range("shared_experts", model.shared_experts(), 0, 1024);
  checks.in_range("expert_groups", model.expert_groups(), 1, most_experts);
  checks.in_range("experts_per_token", model.experts_per_token(), 1, 1024);
  checks.positive("routed_scaling_factor", model.routed_scaling_factor());
  check_groups(model, checks);
}

/// What a file may ask for is bounded before lists of it are made.
void check_amounts(const Model& model, Checks& checks) {
  const int64_t moe_layers = model.layers() - model.dense_layers() + model.mtp_layers();
  const int64_t experts = moe_layers * model.experts();
  if (experts > most_experts_in_all) {
    checks.add("experts", fmt::format("{} in {} layers", experts, moe_layers),
               fmt::format("at most {} in all", most_experts_in_all));
    return;
  }
  const int64_t parameters = count_parameters(model).total;
  if (parameters > most_parameters) {
    checks.add("hidden_size", fmt::format("sizes that make {} parameters", parameters),
               fmt::format("at most {}", most_parameters));
  }
}

}  // namespace

void validate(const LoadedModel& model) {
  Checks checks(model.origins);
  check_sizes(model.model, checks);
  check_attention(model.model, checks);
  check_experts(model.model, checks);
  checks.finish();
  check_amounts(model.model, checks);
  checks.finish();
}

}  // namespace troupe::config
