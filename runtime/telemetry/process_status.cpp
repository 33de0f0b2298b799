#include "runtime/telemetry/process_status.h"

#include <sys/stat.h>

#include <charconv>
#include <fstream>
#include <iterator>

namespace troupe::runtime {
namespace {

/// The `index`-th word from 0 on; empty: there are fewer.
std::string_view word_of(std::string_view text, int index) {
  for (;; --index) {
    const size_t begin = text.find_first_not_of(" \n");
    if (begin == std::string_view::npos) return {};
    text.remove_prefix(begin);
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    if (index == 0) return text.substr(0, end);
    text.remove_prefix(end);
  }
}

}  // namespace

std::optional<ProcessStatus> parse_process_status(std::string_view line) {
  const size_t name_end = line.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  line.remove_prefix(name_end + 1);
  const std::string_view state = word_of(line, 0);   // field 3
  const std::string_view start = word_of(line, 19);  // field 22
  ProcessStatus status;
  const auto [end, error] =
      std::from_chars(start.data(), start.data() + start.size(), status.start_time);
  if (state.size() != 1 || error != std::errc() || end != start.data() + start.size()) {
    return std::nullopt;
  }
  status.state = state[0];
  return status;
}

std::optional<ProcessStatus> process_status(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  return parse_process_status(std::string(std::istreambuf_iterator<char>(file), {}));
}

ProcessState process_state(pid_t pid, uint64_t start_time) {
  const auto status = process_status(pid);
  if (!status || status->start_time != start_time) return ProcessState::ended;
  switch (status->state) {
    case 'Z':
    case 'X':
    case 'x':
      return ProcessState::ended;
    case 'T':
    case 't':
      return ProcessState::stopped;
    default:
      return ProcessState::running;
  }
}

uint64_t pid_namespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

std::string to_string(ProcessState state) {
  switch (state) {
    case ProcessState::running:
      return "running";
    case ProcessState::stopped:
      return "stopped";
    case ProcessState::ended:
      return "ended";
    case ProcessState::unknown:
      return "unknown";
  }
  return "unknown";
}

}  // namespace troupe::runtime
