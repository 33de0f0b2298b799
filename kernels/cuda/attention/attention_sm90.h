// Attention of MLA in training and prefill on Hopper's tensor cores, as launchers over raw device
// pointers: causal, 192 columns of queries and keys (128 and 64 rotated ones), 128 of values.
//
// The order of the arithmetic sm_90a. Forward: keys in tiles of 128 from their sequence's first on;
// scores and probabilities times values as the tensor cores sum, the running maximum and sum of a
// row tile by tile, exp2 by the GPU's own approximation (ex2.approx.ftz: one function of its
// argument on this architecture). Backward: dv and dk over queries ascending in steps of 64, dq
// over keys ascending in steps of 64, each one accumulator; probabilities and gradients of scores
// enter the products as bfloat16. No row depends on how many others there are.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::kernels::cuda {

/// Sequences that lie one behind the other in the rows of a matrix.
struct PackedRows {
  const int32_t* offsets;  ///< [sequences + 1] on the device, from 0; null: each has `longest` rows
  int64_t longest;         ///< no sequence has more rows
  int64_t total;           ///< rows of the matrix; those behind the last sequence are never used
};

/// Heads side by side in a matrix of bfloat16 on the device: head h of row t begins at
/// data + t * row_stride + h * head_stride. `data` is 16-byte aligned; strides count elements and
/// are multiples of 8; head_stride 0: one for all heads.
struct HeadRows {
  const uint16_t* data;
  int64_t row_stride;
  int64_t head_stride;
};
struct HeadRowsOut {
  uint16_t* data;
  int64_t row_stride;
  int64_t head_stride;
};

/// Tq rows of queries, Tk of keys, H heads. The queries of a sequence are the last of its keys'
/// positions: query i stands at position (keys - queries + i) and sees keys up to it.
struct AttentionForwardSm90Args {
  int64_t heads;
  int64_t sequences;
  PackedRows queries;
  PackedRows keys;   ///< every sequence has at least as many as queries
  float scale;       ///< multiplies the scores; above 0
  HeadRows q;        ///< [Tq, H, 192]
  HeadRows k;        ///< [Tk, H, 128], columns 0 to 127 of the keys
  HeadRows k_rope;   ///< [Tk, H, 64], their columns 128 to 191
  HeadRows v;        ///< [Tk, H, 128]
  uint16_t* o;       ///< out: [Tq, H * 128] bfloat16
  float* log_sums;   ///< out: [H, Tq] f32, ln sum exp of the scaled scores
  int32_t* counter;  ///< one number of scratch, not shared with a launch that may run meanwhile
};

/// Law 1: a row's result depends on its query and on the keys and values of its sequence up to its
/// position (as long as those behind it are finite), whatever else is in the call and however the
/// sequence is cut into calls. Asynchronous on `stream`. Throws KernelError if a size is not as
/// stated or the launch fails.
void attention_forward_sm90(const AttentionForwardSm90Args& args, cudaStream_t stream);

/// Whole sequences: T rows of queries and of keys alike.
struct AttentionBackwardSm90Args {
  int64_t heads;
  int64_t sequences;
  PackedRows rows;
  float scale;
  HeadRows q;               ///< [T, H, 192]
  HeadRows k;               ///< [T, H, 128]
  HeadRows k_rope;          ///< [T, H, 64]
  HeadRows v;               ///< [T, H, 128]
  HeadRows o;               ///< [T, H, 128], forward's
  HeadRows do_;             ///< [T, H, 128]
  const float* log_sums;    ///< [H, T] f32, forward's
  HeadRowsOut dq;           ///< out: [T, H, 192]
  HeadRowsOut dk;           ///< out: [T, H, 128]
  HeadRowsOut dk_rope;      ///< out: [T, H, 64]; no head_stride of 0: the caller sums over heads
  HeadRowsOut dv;           ///< out: [T, H, 128]
  void* workspace;          ///< 256-byte aligned
  int64_t workspace_bytes;  ///< as attention_backward_sm90_workspace_bytes says for some heads
};

/// Scratch that backward needs to take `heads_together` of the heads at a time, in bytes: it keeps
/// their gradients of scores, about 1 byte a pair of a query and a key of its sequence. More heads
/// together fill the GPU better; results are the same.
int64_t attention_backward_sm90_workspace_bytes(int64_t heads, int64_t sequences,
                                                const PackedRows& rows, int64_t heads_together);

/// Deterministic. Asynchronous on `stream`. Throws KernelError as forward does, and if the
/// workspace is too small for one head.
void attention_backward_sm90(const AttentionBackwardSm90Args& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
