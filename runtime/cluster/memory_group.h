// The kernel's groups that limit memory (cgroup v1's memory controller, or v2's), and the processes that it
// has killed for lack of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace troupe::runtime {

/// Why this process cannot have a group of its own with a limit. Empty: it can.
std::string why_no_memory_group();

/// Moves this process into a group of its own below the one it is in: all memory that it takes from now on may
/// be `bytes`; what it has stays with the group before. It names the process, so that whoever started it finds
/// it. Throws ClusterError: which file, and why.
void enter_memory_group(int64_t bytes);

/// Of a process of this machine that SIGKILL has ended: ", by the kernel for lack of memory", or nothing.
/// The kernel counts such ends by group. Of a process with a group of its own it is known for sure; that
/// group is taken away. Of one in this process's group it is said if the count has risen since this was last
/// asked, or first of all with process 0.
std::string lack_of_memory(pid_t process);

/// Takes away the groups of processes that have ended and of whom nobody asked, such as those of another pid
/// namespace: how many processes the kernel killed in them.
uint64_t close_memory_groups();

}  // namespace troupe::runtime
