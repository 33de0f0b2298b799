#pragma once

#include <CLI/App.hpp>
#include <optional>

#include "deploy/train/run_setup.h"

namespace troupe::deploy {

/// What is not given is this machine's.
struct PlanRates {
  std::optional<double> flops;      ///< operations a second of a process
  std::optional<double> bandwidth;  ///< bytes a second of a process; not given: transfers are free
};

/// Prints the plan of a run: sizes, placement, memory, predicted step.
void print_plan(const RunSetup& setup, const PlanRates& rates);

/// Adds `troupe plan`. Errors are thrown.
void add_plan_command(CLI::App& app);

}  // namespace troupe::deploy
