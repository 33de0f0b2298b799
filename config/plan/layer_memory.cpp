#include "config/plan/layer_memory.h"

#include <algorithm>

#include "config/parameters.h"

namespace troupe::config {
namespace {

// Of kernels/layers/head: up to so many logits are kept, more are made in chunks of so many rows.
constexpr double most_kept_logits = 1 << 24;
constexpr int64_t chunk_rows = 512;

struct Widths {
  explicit Widths(const Model& m)
      : hidden(m.hidden_size()),
        queries(int64_t{m.heads()} * query_head_width(m)),
        values(int64_t{m.heads()} * value_head_width(m)),
        expanded(int64_t{m.heads()} * (m.qk_nope_head_dim() + m.v_head_dim())),
        latents(int64_t{m.q_lora_rank()} + m.kv_lora_rank() + m.qk_rope_head_dim()),
        experts(int64_t{m.experts_per_token()} * m.expert_intermediate_size()),
        shared(int64_t{m.shared_experts()} * m.expert_intermediate_size()),
        rows(m.experts_per_token()) {}

  int64_t hidden, queries, values, expanded, latents, experts, shared, rows;
};

bool is_mla(const Model& m) { return m.attention() == Model::MLA; }

}  // namespace

int64_t saved_floats(const Model& m, int32_t layer) {
  const Widths w(m);
  // Input and normed input of both halves with the inverse roots of the norms; queries, keys, values,
  // attention's output and the logarithm of its sum; of MLA latents before and after their norms.
  const int64_t keys = is_mla(m) ? 2 * w.latents + w.queries + w.values + 2 : cache_width(m);
  const int64_t attention = 4 * w.hidden + 2 + w.queries + keys + w.values + m.heads();
  if (layer < m.dense_layers()) return attention + 3 * int64_t{m.dense_intermediate_size()};
  // Scores, choice and places of the rows; the experts' sum; inputs and outputs of experts.
  return attention + m.experts() + 7 * w.rows + w.hidden +
         2 * w.rows * w.hidden + 3 * (w.experts + w.shared);
}

int64_t recomputed_floats(const Model& m, int32_t layer) {
  const Widths w(m);
  // The normed input; of MLA the normed latents with the rotated key, queries, keys and values; the
  // inverse roots of the norms; the outputs of SwiGLU. GQA keeps what is not a norm.
  const int64_t mla = w.latents + 2 * w.queries + w.values + (m.q_lora_rank() > 0 ? 2 : 1);
  const int64_t attention = w.hidden + 1 + (is_mla(m) ? mla : 0);
  if (layer < m.dense_layers()) return attention + m.dense_intermediate_size();
  return attention + w.experts + w.shared;
}

int64_t backward_floats(const Model& m, int32_t layer) {
  const Widths w(m);
  // Gradients of input, normed input, queries, keys, values, output, and of MLA's latents.
  const int64_t attention = 2 * w.hidden + 2 * w.queries + 2 * w.values +
                            (is_mla(m) ? w.expanded + 2 * w.latents + 2 * m.heads() : 0);
  // Of the MLP's input and normed input, of its own network's output and inner activations.
  const bool is_dense = layer < m.dense_layers();
  const int64_t own =
      4 * w.hidden + 3 * (is_dense ? int64_t{m.dense_intermediate_size()} : w.shared);
  if (is_dense) return attention + own;
  // Of the experts' sum and of the gate; of each row its gradient before and behind its weight, and
  // that of its input through up (through gate it takes the output's place).
  return attention + own + 2 * w.hidden + m.experts() + 3 * w.rows * w.hidden + 3 * w.experts;
}

int64_t crossing_floats(const Model& m) { return 3 * int64_t{m.hidden_size()}; }

double head_bytes(const Model& m, int64_t micro_batch_tokens) {
  const auto vocabulary = static_cast<double>(m.vocab_size());
  const auto tokens = static_cast<double>(micro_batch_tokens);
  // Their gradients take the place of logits that are kept; of chunks one stands for inputs, one for
  // weights.
  const double rows = tokens * vocabulary <= most_kept_logits
                          ? tokens
                          : 2 * static_cast<double>(std::min(micro_batch_tokens, chunk_rows));
  return 4 * vocabulary * (rows + static_cast<double>(m.hidden_size()));
}

}  // namespace troupe::config
