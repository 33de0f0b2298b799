// Whether a process lives, as /proc says it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::runtime {

enum class ProcessState {
  running,
  stopped,
  ended,
  unknown,  ///< it is in another pid namespace, such as another container's
};

struct ProcessStatus {
  char state = '?';         ///< a letter of proc(5): R, S, D, T, Z, ...
  uint64_t start_time = 0;  ///< clock ticks since boot: tells processes of one pid apart
};

/// Reads a line of /proc/PID/stat. The name of the program in it may hold anything.
std::optional<ProcessStatus> parse_process_status(std::string_view line);

/// Nothing: there is no such process.
std::optional<ProcessStatus> process_status(pid_t pid);

/// Of the process that had `pid` and began at `start_time`. One that waits for its parent to notice
/// its end has ended.
ProcessState process_state(pid_t pid, uint64_t start_time);

/// The number of this process's pid namespace; 0: not known.
uint64_t pid_namespace();

/// "stopped"
std::string to_string(ProcessState state);

}  // namespace troupe::runtime
