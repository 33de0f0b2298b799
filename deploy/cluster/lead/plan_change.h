// What is said of a change of a run's processes.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/proto/events.pb.h"

namespace troupe::deploy {

/// "3 processes from step 21 on: 120 blocks (45.1 MB) moved, 400 stayed; training paused for 0.41 s".
std::string describe(const wire::PlanChange& change, uint64_t step);

}  // namespace troupe::deploy
