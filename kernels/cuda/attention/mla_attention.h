// The attention of MLA's expanded form over tensors and a queue of the arithmetic sm_90a: what
// attention_sm90.h has over pointers.
#pragma once

#include "kernels/layers/gradient.h"
#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

/// Columns a head that the kernels are made for.
constexpr int64_t mla_nope = 128, mla_rope = 64, mla_v_head = 128;

/// Whole sequences of `sequence_rows` from position 0 on; T rows, H heads.
struct MlaAttentionArgs {
  ConstTensor q;    ///< [T, H * 192] bf16, rotated
  ConstTensor kv;   ///< [T, H * 256] bf16: a head's 128 columns of the key, then its value
  ConstTensor key;  ///< [T, 64] bf16: the rotated columns, which all heads share
  int64_t heads;
  int64_t sequence_rows;
  float scale;
  Tensor o;         ///< out: [T, H * 128] bf16
  Tensor log_sums;  ///< out: [H, T] f32
};
void mla_attention(Queue& queue, Scratch& scratch, const MlaAttentionArgs& args);

struct MlaAttentionBackwardArgs {
  ConstTensor do_;                      ///< [T, H * 128] bf16
  ConstTensor q, kv, key, o, log_sums;  ///< as forward has them
  int64_t heads;
  int64_t sequence_rows;
  float scale;
  Tensor dq;    ///< out: [T, H * 192] bf16
  Tensor dkv;   ///< out: [T, H * 256] bf16
  Tensor dkey;  ///< out: [T, 64] bf16: summed over heads in f32, ascending
};
void mla_attention_backward(Queue& queue, Scratch& scratch, const MlaAttentionBackwardArgs& args);

}  // namespace troupe::kernels::cuda
