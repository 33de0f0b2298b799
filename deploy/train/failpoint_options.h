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
  std::vector<std::string> crash, segfault, exit, freeze, hang, oom;  ///< likewise, of its process
  std::vector<std::string> disk, link, oneway;       ///< likewise, of what is around the run
  std::string random_kills;                          ///< SEED[:COUNT]
  std::string random_faults;                         ///< likewise, of every kind of an actor's
  std::string random_crashes;                        ///< likewise, of processes
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
/// How many actors of each role a run has.
std::vector<int> actor_counts(const FailpointField& field);

/// Throws actors::FailpointError, also for an actor that the plan has not.
std::vector<actors::Failpoint> failpoints_of(const FailpointOptions& options,
                                             const FailpointField& field);

/// Throws actors::FailpointError: which of them this machine has no means for, and why.
void check_means(const std::vector<actors::Failpoint>& failpoints);

/// Does a fault of a whole process to this one; comes back from a freeze alone, if somebody wakes it, and never from a hang.
void strike_process(actors::Fault fault);

/// Witnesses of an event log: failpoints that have fired in earlier lives of the run.
std::vector<std::string> fired_failpoints(const std::filesystem::path& events);

}  // namespace troupe::deploy
