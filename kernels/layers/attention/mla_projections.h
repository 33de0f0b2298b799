// The projections that training and generation share. Internal to the attention layers (mla.cpp,
// mla_cached.cpp, gqa.cpp).
#pragma once

#include <vector>

#include "kernels/layers/attention/mla.h"
#include "kernels/ops/attention.h"

namespace troupe::kernels::mla {

/// The slice of columns [first, first + n) of every head: [T * H, n].
Tensor head_columns(const Tensor& t, int64_t heads, int64_t first, int64_t n);
ConstTensor head_columns(const ConstTensor& t, int64_t heads, int64_t first, int64_t n);

/// Turns the rotated columns x [T * heads, R] in place, or back.
void rotate(Queue& queue, const MlaContext& context, const Tensor& x, int64_t heads,
            const ConstTensor& positions, bool inverse);

/// Throws KernelError unless `rows` are whole sequences of `sequence_rows`.
void expect_whole_sequences(const char* what, int64_t rows, int64_t sequence_rows);
/// Sequences of `sequence_rows` from position 0 on, whose keys and values are their own rows.
std::vector<AttentionSequence> whole_sequences(const ConstTensor& k, const ConstTensor& v,
                                               int64_t sequence_rows);

/// y = x weight^T, weight as stored: [out, in].
void project(Queue& queue, const MlaContext& context, const ConstTensor& x,
             const ConstTensor& weight, const Tensor& y);

/// The projection after attention; in fp8 its input has scales that are powers of two (report
/// section 3.3.2).
constexpr Scales output_scales = Scales::powers_of_two;
void project_output(Queue& queue, const MlaContext& context, const ConstTensor& o,
                    const ConstTensor& weight, const Tensor& y);

/// Attention's output [T, H * width] as it is kept for backward, in place: in fp8 an E5M6 copy. It
/// has more bits than E4M3, as attention's backward reads it too (report section 3.3.3).
void keep_output(Queue& queue, const MlaContext& context, const Tensor& o);

/// Fills q_latent and kv_down of `saved`.
void down_projections(Queue& queue, Scratch& scratch, const MlaContext& context,
                      const MlaWeights& weights, const ConstTensor& x, MlaSaved& saved);

/// Everything of `MlaUp` but k and v.
MlaUp query_and_latent(Queue& queue, Scratch& scratch, const MlaContext& context,
                       const MlaWeights& weights, const ConstTensor& x,
                       const ConstTensor& positions, const MlaSaved& saved);

/// Keys and values of every head from latent rows: k [n, H * (nope + R)], v [n, H * v_head].
void expand_latent(Queue& queue, const MlaContext& context, const MlaWeights& weights,
                   const ConstTensor& latent, const Tensor& k, const Tensor& v);

}  // namespace troupe::kernels::mla
