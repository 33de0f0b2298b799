// What the layers of a model hold of each token, as kernels/layers and actors/model allocate it.
#pragma once

#include <cstdint>

#include "config/proto/model.pb.h"

namespace troupe::config {

/// Floats that a layer keeps of one token for its backward pass, if nothing is recomputed.
int64_t saved_floats(const Model& model, int32_t layer);

/// Those of them that `train.recompute` makes again.
int64_t recomputed_floats(const Model& model, int32_t layer);

/// Floats of one token that the backward pass of a layer needs beside them.
int64_t backward_floats(const Model& model, int32_t layer);

/// Floats of one token that a MoE layer holds for rows that cross to experts of another process: what
/// is sent, what has come, and the sums of both.
int64_t crossing_floats(const Model& model);

/// Bytes of the head for a micro-batch: logits and their gradients, all of them or a chunk
/// (kernels/layers/head.h), and the unit of its weight's gradient.
double head_bytes(const Model& model, int64_t micro_batch_tokens);

}  // namespace troupe::config
