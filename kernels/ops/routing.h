#pragma once

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// Arguments of `route_tokens`. T tokens, E routed experts, K experts per token.
struct RouteTokensArgs {
  ConstTensor logits;  ///< [T, E] f32, router weight times token
  ConstTensor bias;    ///< [E] f32, load-balancing bias: steers the choice, never the weight
  int n_groups;        ///< the E experts form n_groups equal groups
  int top_groups;      ///< groups kept per token, by the sum of their two best biased scores
  bool normalize;      ///< weights divided by their sum (+ 1e-20) before scaling
  float scale;         ///< routed scaling factor (2.5 in the 671B model)
  Tensor scores;       ///< out: [T, E] f32, sigmoid(logits)
  Tensor expert_ids;   ///< out: [T, K] i32, ascending
  Tensor weights;      ///< out: [T, K] f32, of expert_ids
};

/// Chooses K experts per token from the `top_groups` best groups. Ties go to the lower id (group
/// or expert). A group of one expert counts that one score. The sum of chosen scores is taken in
/// id order. A NaN score ranks below every number.
/// Source: DeepSeek-V3 report, arXiv:2412.19437, section 2.1.2; the group rule follows class
/// `Gate` of its inference/model.py.
void route_tokens(Queue& queue, const RouteTokensArgs& args);

struct RouteTokensBackwardArgs {
  ConstTensor dweights;    ///< [T, K] f32
  ConstTensor scores;      ///< [T, E] f32
  ConstTensor expert_ids;  ///< [T, K] i32
  bool normalize;
  float scale;
  ConstTensor dscores;     ///< [T, E] f32 added to the scores' gradient (balance loss), or no data
  Tensor dlogits;          ///< out: [T, E] f32
};

void route_tokens_backward(Queue& queue, const RouteTokensBackwardArgs& args);

/// Arguments of `balance_loss`: sequences of S rows (S divides T; S = T for the micro-batch).
struct BalanceLossArgs {
  ConstTensor scores;      ///< [T, E] f32
  ConstTensor expert_ids;  ///< [T, K] i32, the chosen experts
  int64_t sequence_rows;   ///< S
  bool unbiased_choice;    ///< f counts the K best of the unbiased scores (eq. 18 as printed), else the chosen
  float scale;             ///< alpha / number of sequences in the step
  Tensor losses;           ///< out: [T / S] f32, scale * sum_i f_i P_i of each sequence
  Tensor dscores;          ///< out: [T, E] f32, gradient of the losses' sum
};

/// L = alpha sum_i f_i P_i, f_i = E / (K S) * (how often expert i is chosen), P_i = mean over the
/// rows of score_i / sum_j score_j; f is a constant for the gradient.
/// Source: DeepSeek-V3 report, equations 17 to 20.
void balance_loss(Queue& queue, const BalanceLossArgs& args);

/// loads[e] = how many of expert_ids are e.
struct CountExpertsArgs {
  ConstTensor expert_ids;  ///< [T, K] i32
  Tensor loads;            ///< out: [E] i64
};

void count_experts(Queue& queue, const CountExpertsArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void route_tokens(Queue& queue, const RouteTokensArgs& args);
void route_tokens_backward(Queue& queue, const RouteTokensBackwardArgs& args);
void balance_loss(Queue& queue, const BalanceLossArgs& args);
void count_experts(Queue& queue, const CountExpertsArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
