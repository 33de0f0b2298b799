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
  int64_t scratch_bytes;     ///< of a backward pass, in its largest layer and the head
  int64_t buffer_bytes;      ///< lost to rounded sizes, and kept for buffers to come
  int64_t arriving_bytes;    ///< what others send at once: gradients, copies, rows
  int64_t checkpoint_bytes;  ///< the copy of a state that is being saved, in process 0: during a step
  int64_t base_bytes;        ///< of the program itself

  /// What the arithmetic of a step cannot do without: state, gradients, activations and scratch. In
  /// floating point: sizes that no machine has may go beyond 64 bits.
  double needed() const;
  double total() const;
};

/// Of a process of several before it has any part of a run: code, libraries, actors, UCX. Measured: a
/// node of the bench model that waits for its run has 17 MiB, and 3 MiB more are actors and messages.
constexpr int64_t process_base_bytes = int64_t{20} << 20;

/// Memory of one data worker's stage, all of its state in one process. Weights, moments and their
/// EMA (two versions of each, so that a step can be abandoned) and gradients stand once in the
/// process, however many data workers read them; activations are each worker's own, and those of
/// all stages that its rank holds.
MemoryEstimate estimate_memory(const PlanArgs& args, const Plan& plan, int stage);

/// Memory of each process at its highest. Weights and gradients of what it computes with, moments and
/// EMA of what it owns (an even share of what several processes use, ZeRO-1), and all of these of what
/// it holds as a buddy; activations and scratch of its workers; what arrives; in process 0 the whole
/// state when it is saved. Activations of experts are counted where their tokens are, as if every
/// expert were asked alike. Not in it: the tokens of text that process 0 reads, 4 bytes each.
std::vector<MemoryEstimate> estimate_processes(const PlanArgs& args, const Plan& plan);

/// What `train.recompute` saves of the activations of one micro-batch in the layers of `stage`.
int64_t recomputed_bytes(const PlanArgs& args, const StagePlan& stage);

/// Throws ConfigError if the processes together, on one machine, need more than its `memory_bytes`; not of a GPU's.
void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes);

}  // namespace troupe::config
