// The order in which the ranks of a pipeline work: lists of operations, made by pure functions.
//
// A rank is a worker of the pipeline. It holds one stage, or, for the bidirectional schedules, two:
//
//   ONE_F_ONE_B, ZERO_BUBBLE, COMBINED_ONE_F_ONE_B
//                PP ranks: rank r holds stage r
//   DUALPIPE     PP ranks: rank r holds r and PP-1-r; half of the micro-batches go up the ranks, the other half
//                down
//   DUALPIPE_V   PP/2 ranks: rank r holds r and PP-1-r; every micro-batch goes up the ranks and back
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "config/proto/parallel.pb.h"

namespace troupe::config {

struct Operation {
  /// `backward` is backward_input and backward_weight in one.
  enum class Kind { forward, backward, backward_input, backward_weight };
  Kind kind;
  int stage;        ///< of the pipeline; its rank holds it
  int micro_batch;  ///< number within the step
  /// The next operation of the list begins at the same time: of the two, one computes while the
  /// other's rows travel. One is a forward, the other a whole backward.
  bool is_beside_next = false;

  bool operator==(const Operation&) const = default;
};

/// The pipeline of one data worker.
struct ScheduleArgs {
  Parallel::Schedule kind;
  int stages;                          ///< of the pipeline, PP
  std::span<const int> micro_batches;  ///< in the order they are taken; any number of them
};

/// Workers of a pipeline of `stages` stages.
int ranks_of(Parallel::Schedule kind, int stages);
/// Which stages a rank holds, ascending.
std::vector<int> stages_of_rank(Parallel::Schedule kind, int stages, int rank);

/// What is wrong with the stages or the number of micro-batches, as "found X, wanted Y" says it;
/// both are empty if the schedule can be played.
struct Objection {
  std::string found;
  std::string wanted;

  explicit operator bool() const { return !found.empty(); }
};
Objection objection_to(const ScheduleArgs& args);

struct NearestSchedule {
  Parallel::Schedule kind;
  std::string reason;  ///< why it is not the one that was asked for; empty: it is
};

/// The schedule itself, or ZERO_BUBBLE, which plays any stages and micro-batches.
NearestSchedule nearest_playable(const ScheduleArgs& args);

/// What all ranks of a pipeline play in a step.
class PipelineLists {
 public:
  explicit PipelineLists(std::vector<std::vector<Operation>> of_ranks);

  int ranks() const { return static_cast<int>(of_ranks_.size()); }
  const std::vector<Operation>& of(int rank) const { return of_ranks_[static_cast<size_t>(rank)]; }
  /// The rank at which a micro-batch passes a stage. Throws ConfigError if it does not.
  int rank_of(int stage, int micro_batch) const;

 private:
  std::vector<std::vector<Operation>> of_ranks_;
  std::map<std::pair<int, int>, int> rank_of_;  // by stage and micro-batch
};

/// The lists of a schedule. No list waits for another in a circle.
///
/// ONE_F_ONE_B (PipeDream-Flush, arXiv:2006.09503): stage s runs PP-s-1 forwards ahead, then
/// alternates. ZERO_BUBBLE (ZB-H1, arXiv:2401.10241): the same with backward in two parts; stage s
/// is s micro-batches late with its weight gradients, which fill what were bubbles. Both keep
/// activations of at most PP micro-batches a rank. COMBINED_ONE_F_ONE_B (Megatron-Core's combined
/// 1F1B): stage s runs 2 (PP-s) - 1 forwards ahead, then each backward beside the next forward, so
/// that one computes while the other's rows travel to experts and back, in a single stage, too; its
/// rank keeps 2 (PP-s). DUALPIPE, DUALPIPE_V (DeepSeek-V3 report, arXiv:2412.19437, 3.2.1, and the
/// released programs): at most PP+1.
///
/// Throws ConfigError with the objection, if there is one.
PipelineLists make_lists(const ScheduleArgs& args);

/// Lists for a step that may be too small for its run's schedule, on the same ranks: where the
/// schedule cannot be played, DUALPIPE's ranks play ZERO_BUBBLE upward, and DUALPIPE_V's all
/// forwards, then all backwards. Throws ConfigError if there can be no such ranks.
PipelineLists lists_of_step(const ScheduleArgs& args);

/// The largest number of micro-batches (of any of the rank's stages) whose forward has run and
/// whose backward, weights included, has not.
int largest_live(std::span<const Operation> operations);

}  // namespace troupe::config
