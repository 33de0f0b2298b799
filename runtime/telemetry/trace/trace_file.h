// What a process has recorded, as a file that Perfetto and chrome://tracing open: JSON in the Chrome trace-event
// format. Operations are complete events ("ph": "X") of category `operation`, in microseconds, with everything about
// them in `args`; a list is one of category `list`; what a rank waits for is one of category `wait`, for the eye
// alone. `otherData` says what the file is.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>

#include "runtime/telemetry/trace/trace_part.h"

namespace troupe::runtime {

/// A file that is none of a trace, or cannot be read: "FILE: found X, wanted Y".
class TraceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The events of a part, with `shift_ns` added to its times.
nlohmann::ordered_json trace_events(const TracePart& part, int64_t shift_ns = 0);

/// The file is there in full or not at all; folders above it are made. Throws what names the file.
void write_trace_part(const std::filesystem::path& file, const TracePart& part);

/// What the bytes of a file say; `file` is for errors. Throws TraceError if they are not what write_trace_part
/// writes, or make no sense.
TracePart parse_trace_part(const std::string& text, const std::string& file);
/// The same of a file. Throws TraceError also if it cannot be read.
TracePart read_trace_part(const std::filesystem::path& file);

}  // namespace troupe::runtime
