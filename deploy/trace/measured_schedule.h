// A measured step as the simulator tells a played one, and the simulator's own play at what operations were measured
// to take: what the schedule alone would cost.
#pragma once

#include "config/schedule/simulator.h"
#include "deploy/trace/merged_trace.h"

namespace troupe::deploy {

/// Medians of all steps, ranks and data workers by stage, in milliseconds; messages are free. An operation that
/// is played beside another counts for `beside`; where a stage has no other, a third of a pair is its forward and the
/// rest its backward. A whole backward counts where there are both, whole ones and ones in two parts.
config::ScheduleCosts measured_costs(const MergedTrace& trace);

/// A data worker's step in milliseconds; idle is where a rank has no operation.
config::PlayedSchedule measured_schedule(const MergedTrace& trace, const TracedStep& step, int worker);

}  // namespace troupe::deploy
