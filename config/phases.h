// The phases of a run with everything filled in, and how large its steps become.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/proto/model.pb.h"
#include "config/proto/run.pb.h"

namespace troupe::config {

/// Positions of a model: all of them, and how many before its own YaRN.
struct ModelPositions {
  int32_t max;
  int32_t original;
};
ModelPositions positions_of(const Model& model);

/// What holds in a phase.
struct PhaseSettings {
  int64_t after_steps;                   ///< it begins behind this step
  int32_t seq_len;
  int32_t micro_batch;                   ///< sequences
  std::optional<int32_t> micro_batches;  ///< none: the schedule's, or train.micro_batches
  std::optional<double> learning_rate;   ///< none: the schedule's, or the optimizer's
  std::optional<Yarn> yarn;              ///< original_max_position set; none: the model's own
  int32_t max_positions;                 ///< of the model, factor x original_max_position
};

/// Phase 0 is what `data` and `train` say; train.phase follow.
std::vector<PhaseSettings> phases_of(const Run& run, ModelPositions model);

/// The model as the phase of step `state`, which made this state, has it: with its YaRN and
/// positions. State 0 belongs to phase 0.
Model model_at(const Run& run, const Model& model, uint64_t state);

/// Sequences of the phase of step `state`, in tokens.
int32_t seq_len_at(const Run& run, const Model& model, uint64_t state);

/// A number of a schedule's curve as micro-batches: the nearest multiple, at least one.
int64_t rounded_micro_batches(const Schedule& schedule, double number);

/// What memory and placement must hold: the largest of each over the run.
struct StepExtents {
  int32_t micro_batches;
  int32_t seq_len;
  int64_t micro_batch_tokens;
};
StepExtents largest_step(const Run& run);

}  // namespace troupe::config
