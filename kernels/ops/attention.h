#pragma once

#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Keys or values of one sequence, position by position: contiguous, or in pages.
/// Position p lies in row p % page_rows of page p / page_rows; a contiguous cache is one page.
struct KeyPages {
  std::vector<ConstTensor> pages;  ///< [page_rows, heads_kv * width] f32, may be a slice of columns
  int64_t page_rows;
};

/// One sequence's part of an attention call. Its `queries` rows stand at absolute positions
/// first_position, first_position + 1, ...; keys 0 .. last position are read, no more.
struct AttentionSequence {
  int64_t query_row;       ///< first row of the sequence in q and o
  int64_t queries;         ///< may be 0
  int64_t first_position;
  KeyPages keys;           ///< width = query width
  KeyPages values;
};

/// Arguments of `attention`: H query heads over H_kv key heads, of which each stands for H / H_kv
/// neighbouring ones (1: all heads share the key, as in the absorbed form of MLA). dqk = query width,
/// dv = value width.
struct AttentionArgs {
  ConstTensor q;                             ///< [T, H * dqk] f32
  int64_t heads;                             ///< H
  int64_t key_heads;                         ///< H_kv, a divisor of H
  float scale;                               ///< multiplies the scores
  std::vector<AttentionSequence> sequences;
  Tensor o;                                  ///< out: [T, H * dv] f32
  Tensor log_sums;                           ///< out: [T, H] f32, max + ln sum exp: for backward; or no data
};

/// Causal attention: o = sum_j softmax_j(scale q . k_j) v_j over keys j <= the query's position.
///
/// Law 1: a row's result depends on its query and on the keys and values up to its position alone:
/// each score is one FMA chain over dqk; the maximum over the keys; exp(score - max); their sum
/// over 16 lanes by absolute position (lane = position mod 16) and the fixed tree; o is one FMA
/// chain over keys ascending, divided by the sum last. Keys behind a row's position are never
/// read for it, so NaN there cannot reach it. Rows of o that no sequence has are left alone; two
/// sequences may not have the same row.
void attention(Queue& queue, const AttentionArgs& args);

/// Backward for whole sequences from position 0 in contiguous memory: B sequences of S rows.
struct AttentionBackwardArgs {
  ConstTensor do_;       ///< [B * S, H * dv] f32
  ConstTensor q;         ///< [B * S, H * dqk] f32
  ConstTensor k;         ///< [B * S, H_kv * dqk] f32
  ConstTensor v;         ///< [B * S, H_kv * dv] f32
  ConstTensor o;         ///< [B * S, H * dv] f32
  ConstTensor log_sums;  ///< [B * S, H] f32
  int64_t sequence_rows; ///< S
  int64_t heads;
  int64_t key_heads;     ///< H_kv, a divisor of H: dk and dv sum over a key's heads in head order
  float scale;
  Tensor dq;             ///< out: [B * S, H * dqk] f32
  Tensor dk;             ///< out: [B * S, H_kv * dqk] f32
  Tensor dv;             ///< out: [B * S, H_kv * dv] f32
};

/// Probabilities are computed again, as exp(scale q . k - log_sum); forward's own are
/// exp(score - max) / sum, and may differ from these in the last bits. Each dq element is one FMA
/// chain over keys ascending, each dk and dv element one over queries ascending (then heads
/// ascending); all begin with +0. Pairs of a query and a key behind it have no part in any chain.
void attention_backward(Queue& queue, const AttentionBackwardArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void attention(Queue& queue, const AttentionArgs& args);
void attention_backward(Queue& queue, const AttentionBackwardArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
