// The order in which a pipeline stage works: a list of operations, made by a pure function.
#pragma once

#include <span>
#include <vector>

namespace troupe::config {

struct Operation {
  enum class Kind { forward, backward };
  Kind kind;
  int micro_batch;  ///< number within the step

  bool operator==(const Operation&) const = default;
};

struct ScheduleArgs {
  int stages;                          ///< of the pipeline
  int stage;                           ///< whose list is made, from 0
  std::span<const int> micro_batches;  ///< of one data worker, in the order they are taken
};

/// One forward, one backward: stage s runs up to stages - s forwards ahead, then alternates. At
/// most min(stages - s, micro-batches) micro-batches have saved activations at any time.
/// Source: PipeDream-Flush, arXiv:2006.09503.
std::vector<Operation> one_f_one_b(const ScheduleArgs& args);

/// The largest number of micro-batches that have been forward and not yet backward.
int largest_live(std::span<const Operation> operations);

}  // namespace troupe::config
