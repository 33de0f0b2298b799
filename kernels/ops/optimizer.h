#pragma once

#include <span>
#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `squared_norm`: one state block of n elements.
struct SquaredNormArgs {
  ConstTensor gradient;  ///< [n] i64 fixed point
  int scale_bits;        ///< s
  double* sum;           ///< out: sum of g^2 in f64 over 8 lanes and their tree; outlives the operation
};

/// g = f32(f64(integer) * 2^-s), squared and added in f64 by FMA.
void squared_norm(Queue& queue, const SquaredNormArgs& args);

/// The same of many blocks at once.
struct SquaredNormsArgs {
  std::vector<ConstTensor> gradients;  ///< [n] i64 fixed point: blocks one behind the other
  int64_t block;                       ///< elements of a block; the last of a tensor may have fewer
  int scale_bits;
  double* sums;  ///< out: one a block; where the queue computes, or shared; outlives the operation
};
void squared_norms(Queue& queue, const SquaredNormsArgs& args);

/// Numbers of one AdamW step, the same for every block.
struct AdamWStep {
  float learning_rate;
  float beta1;
  float beta2;
  float eps;
  float clip;         ///< factor on the gradient: min(1, limit / norm)
  float correction1;  ///< 1 - beta1^t, t the number of the step (skipped ones count)
  float correction2;  ///< 1 - beta2^t
};

/// 1 - beta^t, computed in f64 by repeated squaring of our own and rounded once.
float bias_correction(float beta, int64_t step);

/// Arguments of `adamw`: a block of n elements; new values are written beside the old ones, which
/// an interrupted apply can then start from again.
struct AdamWArgs {
  AdamWStep step;
  float weight_decay;        ///< of this tensor: 0 for vectors
  ConstTensor gradient;      ///< [n] i64 fixed point
  int scale_bits;
  ConstTensor weight;        ///< [n] f32
  ConstTensor moment1;       ///< [n] f32 or bf16
  ConstTensor moment2;       ///< [n] of moment1's dtype
  Tensor new_weight;         ///< out: [n] f32; may be weight
  Tensor new_moment1;        ///< out: [n] of moment1's dtype; may be moment1
  Tensor new_moment2;        ///< out: [n] of moment1's dtype; may be moment2
  Tensor new_bf16 = {};      ///< out: [n] bf16, the new weight rounded; or no data. On the GPU alone
};

/// g = clip * f32(f64(integer) * 2^-s); m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
/// w = w - lr wd w - lr (m / c1) / (sqrt(v / c2) + eps).
/// Only IEEE + - x / sqrt and written-out FMA, so that every device gives the same bits. All in f32:
/// bf16 moments are read exactly and rounded to nearest even when they are stored; the weight's
/// update takes them before that rounding (DeepSeek-V3 report, section 3.3.3).
/// Source: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, as PyTorch's AdamW has it.
void adamw(Queue& queue, const AdamWArgs& args);
/// The same of many blocks; on the GPU at once. Their step, scale_bits and moments' dtype are one.
void adamw_blocks(Queue& queue, const std::vector<AdamWArgs>& blocks);

/// Arguments of `update_ema`: a block of n elements; the new values are written beside.
struct UpdateEmaArgs {
  float rate;          ///< 1 - decay, rounded once from f64
  ConstTensor weight;  ///< [n] f32: after the step
  ConstTensor ema;     ///< [n] f32
  Tensor new_ema;      ///< out: [n] f32; may be ema
};

/// ema' = fma(rate, weight - ema, ema), so that a weight which stays keeps its average exactly.
/// Source: DeepSeek-V3 report, section 3.2.2.
void update_ema(Queue& queue, const UpdateEmaArgs& args);

/// Sum of the blocks' partial sums in block order, and its square root.
double global_norm(std::span<const double> block_sums);

/// min(1, limit / (norm + 1e-6)) as PyTorch's clip_grad_norm_ has it; 1 if limit is 0 or less.
float clip_factor(double norm, double limit);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void squared_norm(Queue& queue, const SquaredNormArgs& args);
void squared_norms(Queue& queue, const SquaredNormsArgs& args);
void adamw_blocks(Queue& queue, const std::vector<AdamWArgs>& blocks);
void update_ema(Queue& queue, const UpdateEmaArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
