#include "config/parameters.h"

namespace troupe::config {

namespace {

int64_t query_key_width(const Model& model) {
  return int64_t{model.qk_nope_head_dim()} + model.qk_rope_head_dim();
}

/// Matrices of attention in one layer.
int64_t attention_matrices(const Model& m) {
  const int64_t hidden = m.hidden_size();
  const int64_t queries = m.heads() * query_key_width(m);
  const int64_t q_rank = m.q_lora_rank();
  const int64_t q = q_rank > 0 ? q_rank * (hidden + queries) : hidden * queries;
  const int64_t kv_down = hidden * (int64_t{m.kv_lora_rank()} + m.qk_rope_head_dim());
  const int64_t kv_up =
      int64_t{m.kv_lora_rank()} * m.heads() * (int64_t{m.qk_nope_head_dim()} + m.v_head_dim());
  const int64_t out = int64_t{m.heads()} * m.v_head_dim() * hidden;
  return q + kv_down + kv_up + out;
}

/// Matrices that one token meets in the MLP or the experts of `layer`, the router included.
int64_t mlp_matmul(const Model& m, int32_t layer, const ParameterCounts& counts) {
  if (layer < m.dense_layers()) return counts.dense_mlp;
  return m.experts_per_token() * counts.expert + counts.shared + counts.router - m.experts();
}

/// Parameters of the MLP or the experts of `layer`.
int64_t mlp_parameters(const Model& m, int32_t layer, const ParameterCounts& counts) {
  if (layer < m.dense_layers()) return counts.dense_mlp;
  return m.experts() * counts.expert + counts.shared + counts.router;
}

/// The counts that hold for a layer or an expert.
ParameterCounts unit_counts(const Model& m) {
  ParameterCounts counts{};
  const int64_t hidden = m.hidden_size();
  counts.embedding = m.vocab_size() * hidden;
  counts.attention = attention_matrices(m) + m.q_lora_rank() + m.kv_lora_rank();
  counts.norms = 2 * hidden;
  counts.dense_mlp = 3 * hidden * m.dense_intermediate_size();
  counts.expert = 3 * hidden * m.expert_intermediate_size();
  counts.shared = m.shared_experts() * counts.expert;
  counts.router = m.experts() * (hidden + 1);
  return counts;
}

double attention_flops(const Model& m, int32_t seq_len) {
  return 2.0 * seq_len * m.heads() * static_cast<double>(query_key_width(m) + m.v_head_dim());
}

}  // namespace

ParameterCounts count_parameters(const Model& m) {
  ParameterCounts counts = unit_counts(m);
  const int64_t moe_layers = m.layers() - m.dense_layers();
  counts.routed = moe_layers * m.experts() * counts.expert;
  counts.total = 2 * counts.embedding + m.hidden_size();
  counts.matmul = counts.embedding;
  for (int32_t layer = 0; layer < m.layers(); ++layer) {
    counts.total += counts.attention + counts.norms + mlp_parameters(m, layer, counts);
    counts.matmul += attention_matrices(m) + mlp_matmul(m, layer, counts);
  }
  const int64_t used = moe_layers * m.experts_per_token() * counts.expert;
  counts.activated = counts.total - counts.routed + used;
  if (m.mtp_layers() > 0) {
    // enorm, hnorm, the norm before the head, and eh_proj
    const int64_t hidden = m.hidden_size();
    counts.mtp = layer_parameters(m, m.layers()) + 3 * hidden + 2 * hidden * hidden;
  }
  return counts;
}

int64_t layer_parameters(const Model& m, int32_t layer) {
  const ParameterCounts counts = unit_counts(m);
  return counts.attention + counts.norms + mlp_parameters(m, layer, counts);
}

int64_t cache_bytes_per_token(const Model& m, int64_t element_bytes) {
  return (int64_t{m.kv_lora_rank()} + m.qk_rope_head_dim()) * m.layers() * element_bytes;
}

double train_flops_per_token(const Model& m, int32_t seq_len, bool causal) {
  const double attention = m.layers() * attention_flops(m, seq_len) / (causal ? 2 : 1);
  return 6.0 * static_cast<double>(count_parameters(m).matmul) + 3.0 * attention;
}

double layer_train_flops_per_token(const Model& m, int32_t layer, int32_t seq_len) {
  const int64_t matmul = attention_matrices(m) + mlp_matmul(m, layer, unit_counts(m));
  return 6.0 * static_cast<double>(matmul) + 1.5 * attention_flops(m, seq_len);
}

double head_train_flops_per_token(const Model& m) {
  return 6.0 * static_cast<double>(unit_counts(m).embedding);
}

}  // namespace troupe::config
