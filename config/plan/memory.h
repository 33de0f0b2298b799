// How much memory a plan takes.
#pragma once

#include <cstdint>

#include "config/plan/planner.h"

namespace troupe::config {

struct MemoryEstimate {
  int64_t weight_bytes;
  int64_t moment_bytes;
  int64_t ema_bytes;         ///< 0 without one
  int64_t gradient_bytes;    ///< fixed-point sums
  int64_t activation_bytes;  ///< saved between forward and backward, at most

  /// In floating point: sizes that no machine has may go beyond 64 bits.
  double total() const;
};

/// Memory of one data worker's stage, all of its state in one process. Weights, moments and their
/// EMA (two versions of each, so that a step can be abandoned) and gradients stand once in the
/// process, however many data workers read them; activations are each worker's own, and those of
/// all stages that its rank holds.
MemoryEstimate estimate_memory(const PlanArgs& args, const Plan& plan, int stage);

/// Memory of each process: weights and gradients of what it computes with, moments and EMA of what
/// it owns (an even share of what several processes use, ZeRO-1), activations of its workers. Those
/// of experts are counted where their tokens are, as if every expert were asked alike.
std::vector<MemoryEstimate> estimate_processes(const PlanArgs& args, const Plan& plan);

/// What `train.recompute` saves of the activations of one micro-batch in the layers of `stage`.
int64_t recomputed_bytes(const PlanArgs& args, const StagePlan& stage);

/// Throws ConfigError if the processes together, on one machine, need more than `memory_bytes`.
void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes);

}  // namespace troupe::config
