// What the ranks of a pipeline did with their time: as shares, beside what the schedule alone would cost.
#pragma once

#include <string>
#include <vector>

#include "deploy/trace/merged_trace.h"

namespace troupe::deploy {

/// Of one rank; times in milliseconds a step, as the mean over steps.
struct RankUse {
  int worker;
  int rank;
  int process;
  double operations;
  double step_ms;      ///< from the begin of the step anywhere to its end everywhere
  double busy_ms;      ///< some operation is under way
  double exposed_ms;   ///< nothing is, for a message of another process is not there yet
  double on_the_way_ms;  ///< part of it: its sender had made it already
  double other_ms;     ///< nothing is, for other reasons
  double simulated_ms;       ///< a step of the same lists at the measured medians
  double simulated_idle_ms;  ///< what the rank waits in it
};

/// Of each data worker in turn.
std::vector<RankUse> use_of_ranks(const MergedTrace& trace);

/// A row for each rank, and one for all.
std::string use_table(const MergedTrace& trace, const std::vector<RankUse>& uses);

}  // namespace troupe::deploy
