// What one process has recorded of a run's steps.
#pragma once

#include <string>
#include <vector>

#include "runtime/telemetry/trace/traced_list.h"

namespace troupe::runtime {

/// Of which run and process, and how its clock stands.
struct TraceOrigin {
  int process = 0;
  int processes = 1;
  int workers = 1;  ///< data workers
  int ranks = 1;    ///< of a data worker's pipeline
  int stages = 1;
  std::string schedule;  ///< as parallel.schedule has it
  std::string boot;      ///< processes of one have one steady clock; empty: not known
  int64_t unix_minus_steady_ns = 0;

  bool operator==(const TraceOrigin&) const = default;
};

/// The clock of this process: boot and unix_minus_steady_ns of an origin.
void set_clock(TraceOrigin& origin);

struct TracePart {
  TraceOrigin origin;
  std::vector<TracedList> lists;
};

}  // namespace troupe::runtime
