#include "deploy/cluster/lead/plan_change.h"

#include <fmt/format.h>

namespace troupe::deploy {

std::string describe(const wire::PlanChange& change, uint64_t step) {
  std::string text = fmt::format("{} processes from step {} on: {} blocks ({:.1f} MB) moved, {} stayed",
                                 change.processes(), step, change.moved_blocks(),
                                 static_cast<double>(change.moved_bytes()) / 1e6, change.stayed_blocks());
  if (change.paused_seconds() > 0) {
    text += fmt::format("; training paused for {:.2f} s", change.paused_seconds());
  }
  return text;
}

}  // namespace troupe::deploy
