// Failpoints on the command line of a run.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "actors/company.h"

namespace troupe::deploy {

struct FailpointOptions {
  std::vector<std::string> kill, fail, drop, delay, flip;  ///< ROLE[/INDEX]@STEP:PHASE
  std::string random_kills;                          ///< SEED[:COUNT]
  std::string random_faults;                         ///< likewise, of every kind
};

void add_failpoint_options(CLI::App& command, FailpointOptions& options);

/// The run in which they are to fire.
struct FailpointField {
  const config::Plan& plan;
  kernels::ModelShape shape;
  int64_t steps;
  int64_t checkpoint_every;  ///< steps; 0: the last step alone
  bool has_evaluator;
};
/// Throws actors::FailpointError, also for an actor that the plan has not.
std::vector<actors::Failpoint> failpoints_of(const FailpointOptions& options,
                                             const FailpointField& field);

/// Witnesses of an event log: failpoints that have fired in earlier lives of the run.
std::vector<std::string> fired_failpoints(const std::filesystem::path& events);

}  // namespace troupe::deploy
