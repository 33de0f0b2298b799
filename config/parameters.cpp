#include "config/parameters.h"

namespace troupe::config {

namespace {

/// Matrices of attention in one layer.
int64_t attention_matrices(const Model& m) {
  const int64_t hidden = m.hidden_size();
  const int64_t queries = int64_t{m.heads()} * query_head_width(m);
  if (m.attention() != Model::MLA) {
    return 2 * hidden * (queries + int64_t{key_heads(m)} * query_head_width(m));
  }
  const int64_t q_rank = m.q_lora_rank();
  const int64_t q = q_rank > 0 ? q_rank * (hidden + queries) : hidden * queries;
  const int64_t kv_down = hidden * (int64_t{m.kv_lora_rank()} + m.qk_rope_head_dim());
  const int64_t kv_up =
      int64_t{m.kv_lora_rank()} * m.heads() * (int64_t{m.qk_nope_head_dim()} + m.v_head_dim());
  const int64_t out = int64_t{m.heads()} * m.v_head_dim() * hidden;
  return q + kv_down + kv_up + out;
}

/// Parameters of the norms within attention.
int64_t inner_norms(const Model& m) {
  return m.attention() == Model::MLA ? int64_t{m.q_lora_rank()} + m.kv_lora_rank() : 0;
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
  counts.attention = attention_matrices(m) + inner_norms(m);
  counts.norms = 2 * hidden;
  counts.dense_mlp = 3 * hidden * m.dense_intermediate_size();
  counts.expert = 3 * hidden * m.expert_intermediate_size();
  counts.shared = m.shared_experts() * counts.expert;
  counts.router = m.experts() * (hidden + 1);
  return counts;
}

double attention_flops(const Model& m, int32_t seq_len) {
  return 2.0 * seq_len * m.heads() * static_cast<double>(query_head_width(m) + value_head_width(m));
}

}  // namespace

int32_t key_heads(const Model& m) {
  return m.attention() == Model::GQA ? m.kv_heads() : m.heads();
}

int32_t query_head_width(const Model& m) {
  return m.attention() == Model::MLA ? m.qk_nope_head_dim() + m.qk_rope_head_dim() : m.head_dim();
}

int32_t value_head_width(const Model& m) {
  return m.attention() == Model::MLA ? m.v_head_dim() : m.head_dim();
}

int64_t cache_width(const Model& m) {
  if (m.attention() == Model::MLA) return int64_t{m.kv_lora_rank()} + m.qk_rope_head_dim();
  return 2 * int64_t{key_heads(m)} * m.head_dim();
}

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
    counts.mtp = m.mtp_layers() *
                 (layer_parameters(m, m.layers()) + 3 * hidden + 2 * hidden * hidden);
  }
  return counts;
}

int64_t layer_parameters(const Model& m, int32_t layer) {
  const ParameterCounts counts = unit_counts(m);
  return counts.attention + counts.norms + mlp_parameters(m, layer, counts);
}

int64_t cache_bytes_per_token(const Model& m, int64_t element_bytes) {
  return cache_width(m) * m.layers() * element_bytes;
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
