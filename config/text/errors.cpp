#include "config/text/errors.h"

#include <fmt/format.h>

namespace troupe::config {

std::string describe(const Problem& problem) {
  const char* colon = problem.place.empty() ? "" : ": ";
  return fmt::format("{}{}{}: found {}, wanted {}", problem.place, colon, problem.field,
                     problem.found, problem.wanted);
}

}  // namespace troupe::config
