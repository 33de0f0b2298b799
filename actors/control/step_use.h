// What a step has taken of every process: bytes on the wire, and time.
#pragma once

#include <cstdint>
#include <map>

#include "runtime/proto/step.pb.h"

namespace troupe::actors {

/// Processes tell what they have used since they began; what a step has used is the difference to the step before.
class StepUse {
 public:
  /// A commit is told: what comes from here on is of its step.
  void begin() { wire_.Clear(); }
  void hear(const wire::Applied& applied);
  /// Bytes that the step under way has to send.
  void set_minimum(int64_t bytes) { minimum_ = bytes; }
  /// Puts what has been used since the last call into the step's announcement. Not of the first, which has all that
  /// came before it, nor of a process that was not there, or began to count anew.
  void add_to(wire::StepDone& done, bool has_others);

 private:
  wire::WireUse since_last_step();
  void add_work(wire::StepDone& done);

  int64_t minimum_ = 0;
  bool is_told_ = false;
  wire::WireUse wire_, told_;  // of all processes: now, and when a step was last announced
  std::map<int, wire::ProcessWork> work_, told_work_;  // by process; likewise
};

}  // namespace troupe::actors
