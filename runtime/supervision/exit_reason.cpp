#include "runtime/supervision/exit_reason.h"

namespace troupe::runtime {

std::string to_string(const ExitReason& reason) {
  static constexpr const char* names[] = {"normal", "shutdown", "killed", "failure"};
  const std::string name = names[static_cast<size_t>(reason.kind)];
  return reason.text.empty() ? name : name + ": " + reason.text;
}

}  // namespace troupe::runtime
