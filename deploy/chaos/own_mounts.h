#pragma once

#include <string>

namespace troupe::deploy {

/// From the first call on, what is mounted by this process is seen by it and its children alone, and goes with them. Of
/// the thread that calls, and of those that it starts later. Why that may not be; empty: it is so.
std::string get_own_mounts();

}  // namespace troupe::deploy
