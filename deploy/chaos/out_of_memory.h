#pragma once

namespace troupe::deploy {

/// Takes memory in a group of the kernel's with a small limit (runtime/cluster/memory_group.h) until the kernel
/// kills this process for it. Throws runtime::ClusterError, if it may not make such a group or is let live.
[[noreturn]] void run_out_of_memory();

}  // namespace troupe::deploy
