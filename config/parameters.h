// What a model's hyper-parameters amount to: parameters, cache, arithmetic.
#pragma once

#include <cstdint>

#include "config/proto/model.pb.h"

namespace troupe::config {

/// Numbers of parameters. "Per layer" ones exclude the two norms around attention and MLP.
struct ParameterCounts {
  int64_t embedding;  ///< the head has as many
  int64_t attention;  ///< per layer, its inner norms included
  int64_t norms;      ///< per layer
  int64_t dense_mlp;  ///< per dense layer
  int64_t expert;     ///< of one routed expert
  int64_t shared;     ///< of the shared experts of a layer
  int64_t router;     ///< per MoE layer, the routing bias included
  int64_t routed;     ///< of all routed experts of the main model
  int64_t total;      ///< of the main model
  int64_t activated;  ///< of the main model that one token uses, embedding and head included
  int64_t matmul;     ///< of matrices that a token is multiplied with: the head, no embedding
  int64_t mtp;  ///< of the MTP layers without the shared embedding and head; 0 if there is none
};

ParameterCounts count_parameters(const Model& model);

/// Heads of keys and values: that of GQA, and as many as heads with MHA and MLA.
int32_t key_heads(const Model& model);

/// Width of a head's query and key, and of its value.
int32_t query_head_width(const Model& model);
int32_t value_head_width(const Model& model);

/// Elements that the cache holds for one token in one layer: MLA's latent and rotary key, the keys
/// and values of GQA and MHA.
int64_t cache_width(const Model& model);

/// Parameters of layer `layer` (from 0) with its norms.
int64_t layer_parameters(const Model& model, int32_t layer);

/// Bytes that the cache holds for one token in all layers.
int64_t cache_bytes_per_token(const Model& model, int64_t element_bytes);

/// Floating-point operations for one token of a sequence of `seq_len`: 6 for each weight of a
/// matrix and, for attention, 3 times the forward pass over half the sequence (causal) or all of
/// it. The MTP layer is not counted.
double train_flops_per_token(const Model& model, int32_t seq_len, bool causal = true);

/// The same of one layer.
double layer_train_flops_per_token(const Model& model, int32_t layer, int32_t seq_len);

/// The same of the head.
double head_train_flops_per_token(const Model& model);

}  // namespace troupe::config
