// A process's part of a trace. What is accepted has times in the order of what happened.
#include <cstdlib>

#include "runtime/telemetry/trace/trace_file.h"

using namespace troupe::runtime;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const TracePart part = parse_trace_part(text, "process-0.json");
    for (const TracedList& list : part.lists) {
      if (objection_to(list)) std::abort();
      int64_t time = 0;
      for (const Pause& pause : pauses_of(list, part.origin.process)) time += pause.end_ns - pause.begin_ns;
      for (const PlayedTurn& turn : turns_of(list)) time += turn.end_ns - turn.begin_ns;
      if (time != list.end_ns - list.begin_ns) std::abort();
    }
  } catch (const TraceError&) {
  }
  return 0;
}
