// Which process holds the copies of which, for them not to be lost together.
#pragma once

#include <string>
#include <vector>

namespace troupe::config {

/// How many processes further on (of the last the first is next) each one's buddy is: the least with which as few
/// as can be have it on their own machine. `machines` by process; on one machine 1.
int buddy_stride(const std::vector<std::string>& machines);

/// How many have it there all the same: some must, if one machine has more than half of the processes.
int buddies_on_one_machine(const std::vector<std::string>& machines, int stride);

}  // namespace troupe::config
