// What the processes of a run have recorded, put together: steps in which the lists of all ranks are there.
#pragma once

#include <string>
#include <vector>

#include "runtime/telemetry/trace/trace_file.h"

namespace troupe::deploy {

/// A part, and the file that it was read from.
struct NamedPart {
  std::string file;
  runtime::TracePart part;
};

struct TracedRank {
  runtime::TracedList list;  ///< times are counted from the begin of the step
  int process;
};

struct TracedStep {
  int64_t step;
  int64_t length_ns;              ///< from the first list's begin to the last one's end
  std::vector<TracedRank> ranks;  ///< of each data worker in turn
};

struct MergedTrace {
  runtime::TraceOrigin origin;      ///< what all processes say alike
  bool has_one_clock = true;        ///< all were processes of one machine
  std::vector<TracedStep> steps;    ///< ascending, at least one
  std::vector<std::string> notes;   ///< steps that are left out, and why

  const TracedRank& rank(const TracedStep& step, int worker, int rank) const {
    return step.ranks[static_cast<size_t>(worker * origin.ranks + rank)];
  }
};

/// What to add to the times of each part so that they are of one clock, the first part's. Processes of one machine
/// have one; those of several are compared by the time of day.
std::vector<int64_t> clock_shifts(const std::vector<NamedPart>& parts);

/// Throws TraceError if parts are of different runs or layouts, of one process twice, or have no step together.
MergedTrace merge_parts(const std::vector<NamedPart>& parts);

/// What the ranks of a data worker played.
config::PipelineLists lists_of(const MergedTrace& trace, const TracedStep& step, int worker);

}  // namespace troupe::deploy
