// What --dry-run prints.
#pragma once

#include <string>

#include "config/plan/planner.h"

namespace troupe::config {

struct MemoryEstimate {
  int64_t weight_bytes;
  int64_t moment_bytes;
  int64_t ema_bytes;         ///< 0 without one
  int64_t gradient_bytes;    ///< fixed-point sums
  int64_t activation_bytes;  ///< saved between forward and backward, at most
};

/// Memory of one data worker's stage. Weights, moments and their EMA (two versions of each, so that a
/// step can be abandoned) and gradients stand once in the process, however many data workers read them;
/// activations are each worker's own.
MemoryEstimate estimate_memory(const PlanArgs& args, const Plan& plan, int stage);

/// What `train.recompute` saves of the activations of one micro-batch in the layers of `stage`.
int64_t recomputed_bytes(const PlanArgs& args, const StagePlan& stage);

/// Throws ConfigError if weights, moments, EMA, gradients and activations of all workers, which stand in
/// one process, need more than `memory_bytes`.
void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes);

/// Sizes, parameters, memory per worker and placement as lines of text.
std::string describe_plan(const PlanArgs& args, const Plan& plan);

}  // namespace troupe::config
