// Whose bits a queue computes (DESIGN 1, "Arithmetic"): a run has one from its first step to its
// last.
#pragma once

#include <cstdint>
#include <string_view>

namespace troupe::kernels {

/// cpu: the orders that stand in the operators' headers, on the CPU and on the GPU alike.
/// sm_90a: those of Hopper's tensor cores, on the GPU alone.
enum class Arithmetic : uint8_t { cpu, sm_90a };

/// Name and version, as hashes, journals, checkpoints and handshakes have it. The version changes
/// when the order of any sum does.
std::string_view name_of(Arithmetic arithmetic);

}  // namespace troupe::kernels
