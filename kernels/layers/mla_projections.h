// The projections that training and generation share. Internal to mla.cpp and mla_cached.cpp.
#pragma once

#include "kernels/layers/mla.h"

namespace troupe::kernels::mla {

/// The slice of columns [first, first + n) of every head: [T * H, n].
Tensor head_columns(const Tensor& t, int64_t heads, int64_t first, int64_t n);
ConstTensor head_columns(const ConstTensor& t, int64_t heads, int64_t first, int64_t n);

/// y = x weight^T, weight as stored: [out, in].
void project(Queue& queue, const ConstTensor& x, const ConstTensor& weight, const Tensor& y);

/// Fills q, q_latent and latent (with what they come from) of `saved`.
void query_and_latent(Queue& queue, Scratch& scratch, const MlaContext& context,
                      const MlaWeights& weights, const ConstTensor& x,
                      const ConstTensor& positions, MlaSaved& saved);

/// Keys and values of every head from latent rows: k [n, H * (nope + R)], v [n, H * v_head].
void expand_latent(Queue& queue, Scratch& scratch, const MlaContext& context,
                   const MlaWeights& weights, const ConstTensor& latent, const Tensor& k,
                   const Tensor& v);

}  // namespace troupe::kernels::mla
