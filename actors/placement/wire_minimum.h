#pragma once

#include <cstdint>
#include <span>

#include "actors/company.h"

namespace troupe::actors {

/// Bytes that have to cross between the processes of a run in a step, in the numbers of its format
/// and without any header: fixed-point gradients (8) to who owns a block and weights (4) back, for
/// every other process that uses it, but for its buddy, which gets the sums rounded (4) and makes the weights;
/// streams and their gradients [T, D] f32 between stages of different processes; and of routed experts what the routers report (UnitRouting).
/// `shares` are the step's (Company::hands).
int64_t minimum_bytes(const Company& company, const StepNumbers& step, std::span<const int> shares,
                      const wire::StepReport& report);

}  // namespace troupe::actors
