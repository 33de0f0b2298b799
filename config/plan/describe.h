// What --dry-run and `troupe plan` print.
#pragma once

#include <optional>
#include <string>

#include "config/plan/cost_model.h"
#include "config/plan/memory.h"
#include "config/plan/planner.h"

namespace troupe::config {

/// Sizes, parameters, placement, memory of processes and the predicted step as lines of text.
/// Without rates no time is predicted.
std::string describe_plan(const PlanArgs& args, const Plan& plan,
                          const std::optional<MachineRates>& rates = std::nullopt);

/// "523.0 MiB: weights 92.7 MiB, ...": what a step needs, and its parts.
std::string describe_needed(const MemoryEstimate& memory);

}  // namespace troupe::config
