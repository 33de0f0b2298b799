// What `troupe ps` prints of a process: a pure function of what its cells said.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/telemetry/cell_reader.h"

namespace troupe::deploy {

struct PsTableArgs {
  const runtime::GlassView& view;
  const runtime::GlassView* before;  ///< an earlier look at the same process; nullptr: none
  double seconds;                    ///< between the two
  bool is_all;                       ///< false: of lives that are over, the last of each name
  bool is_coloured;                  ///< the dead are grey
  int columns;                       ///< lines are cut there; 0: nowhere
};

/// A line about the process, then its actors, each below its parent. With an earlier look, busy
/// time is that of the time between, and there is a column of messages a second.
std::string ps_table(const PsTableArgs& args);

/// All of it, with times in nanoseconds.
nlohmann::ordered_json ps_json(const runtime::GlassView& view);

/// "850us", "12ms", "3.2s", "4m05s", "2h03m", "5d02h"
std::string short_time(uint64_t ns);

}  // namespace troupe::deploy
