// A merged trace as others show it.
#pragma once

#include <string>
#include <vector>

#include "deploy/trace/rank_use.h"

namespace troupe::deploy {

/// A data worker's step as SVG: what was measured, and below it, at the same scale of time, the same lists simulated
/// at the measured medians. Throws ConfigError if the lists cannot be played.
std::string draw_trace(const MergedTrace& trace, const TracedStep& step, int worker);

/// All parts in one file of Chrome's trace events, by one clock that begins with the first event; `otherData` has the
/// rows of the table.
std::string merged_events(const std::vector<NamedPart>& parts, const std::vector<RankUse>& uses);

}  // namespace troupe::deploy
