// The shape of a model of the DeepSeek-V3 architecture, and the list of its parameters under their
// Hugging Face names.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops/rope.h"

namespace troupe::kernels {

/// Sizes and constants; letters as in kernels/README.md. Field names follow config.json's sense.
struct ModelShape {
  int64_t vocabulary;        ///< V
  int64_t hidden;            ///< D
  int64_t layers;            ///< main layers, MTP not counted
  int64_t dense_layers;      ///< the first ones have a dense MLP
  int64_t heads;             ///< H
  int64_t q_lora;            ///< rank of the query's down-projection; 0: none
  int64_t kv_lora;           ///< C, rank of the latent key-value
  int64_t nope;              ///< key columns a head without rotation
  int64_t rope;              ///< rotated columns, one key for all heads
  int64_t v_head;            ///< value columns a head
  int64_t dense_width;       ///< F of the dense MLP
  int64_t expert_width;      ///< F of a routed expert; the shared one is shared_experts times as wide
  int64_t experts;           ///< E
  int64_t shared_experts;
  int64_t groups;            ///< G
  int64_t top_groups;
  int64_t top_k;             ///< K
  bool normalize_top_k;
  float routed_scale;
  int64_t mtp_layers;        ///< D of the report's multi-token prediction
  float rms_eps;
  double rope_theta;
  std::optional<Yarn> yarn;
  int64_t max_positions;
  float init_std;
  /// Key heads of grouped-query attention (GQA), a divisor of H; 0: latent attention (MLA). GQA has
  /// heads of width `rope` in queries, keys and values, and no latent: nope, q_lora and kv_lora are 0.
  int64_t kv_heads = 0;

  bool is_grouped() const { return kv_heads > 0; }
  int64_t query_width() const { return nope + rope; }
  int64_t moe_layers() const { return layers - dense_layers; }
  bool is_dense(int64_t layer) const { return layer < dense_layers; }
};

enum class Initial : uint8_t { normal, ones };

struct ParameterSpec {
  std::string name;            ///< "model.layers.3.mlp.experts.7.up_proj.weight"
  std::vector<int64_t> shape;  ///< [out, in] or [n]
  Initial initial;

  int64_t count() const;
  bool is_matrix() const { return shape.size() == 2; }  ///< weight decay goes to these alone
};

/// Every trained tensor, layer by layer. An MTP layer m stands as layer `layers + m` and does not
/// repeat the shared embedding and head. The routing bias is not trained and not listed.
std::vector<ParameterSpec> parameters(const ModelShape& shape);

/// "model.layers.3.mlp.gate.e_score_correction_bias": where a layer's routing bias is stored.
std::string routing_bias_name(int64_t layer);

/// "model.layers.3.".
std::string layer_prefix(int64_t layer);

/// First value of element `element` of a tensor: a function of (seed, name, element) alone, so no
/// layout of the run shows in it. Normal with standard deviation `std`, or one.
float initial_value(const ParameterSpec& spec, uint64_t seed, float std, int64_t element);
/// Those of elements from `first` on.
void initial_values(const ParameterSpec& spec, uint64_t seed, float std, int64_t first,
                    std::span<float> values);

}  // namespace troupe::kernels
