// What each step of a run is made of. Everything is a function of the tokens consumed before it
// (DeepSeek-V3 report, section 4.2), and these follow from the steps before: so of the recipe and
// the step's number alone.
#pragma once

#include <cstdint>
#include <vector>

#include "actors/train/recipe.h"

namespace troupe::actors {

/// The numbers of one step.
struct StepNumbers {
  uint64_t consumed_tokens;  ///< before it
  size_t phase;              ///< index in Timeline::phases()
  bool begins_phase;
  uint64_t first_sequence;   ///< counted from 0 in its phase
  int64_t sequences;         ///< B, a micro-batch
  int64_t micro_batches;
  int64_t sequence_rows;     ///< S
  double learning_rate;
  double gamma;
  double mtp_weight;

  int64_t tokens() const { return micro_batches * sequences * sequence_rows; }
};

class Timeline {
 public:
  /// One pass over the stretches of equal steps; at most as many as the schedule has numbers of
  /// micro-batches.
  explicit Timeline(const Recipe& recipe);

  /// Numbers of step N >= 1, also behind the recipe's last. From any thread.
  StepNumbers at(uint64_t step) const;

  /// The first is the recipe's own.
  const std::vector<RunPhase>& phases() const { return phases_; }
  /// The phase that a state belongs to: that of the step which made it; state 0 to the first.
  const RunPhase& phase_of_state(uint64_t state) const;
  /// The recipe with the model and the sequences of that phase.
  Recipe recipe_of_state(uint64_t state) const;

 private:
  /// Steps one after the other with the same number of micro-batches, in one phase.
  struct Stretch {
    uint64_t first_step;
    uint64_t consumed_tokens;
    uint64_t first_sequence;
    size_t phase;
    int64_t micro_batches;
  };

  void add_phase(size_t phase, uint64_t last_step);
  int64_t micro_batches_at(size_t phase, uint64_t consumed_tokens) const;
  uint64_t equal_steps(const Stretch& stretch, uint64_t most) const;
  int64_t tokens_per_step(const Stretch& stretch) const;
  double rate_at(uint64_t step, size_t phase, double consumed_tokens) const;
  const Stretch& stretch_of(uint64_t step) const;

  const Recipe recipe_;
  std::vector<RunPhase> phases_;
  std::vector<Stretch> stretches_;
};

/// A curve at so many consumed tokens.
double value_at(const config::Curve& curve, double tokens);

}  // namespace troupe::actors
