// A run that is ready to be led: what is there before anybody leads it, and stays when leaders come and
// go.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/control/failpoints.h"
#include "deploy/cluster/held_parts.h"
#include "deploy/cluster/lead/gathering.h"
#include "deploy/cluster/lead/leased_run.h"
#include "deploy/process/stop_signals.h"
#include "deploy/train/failpoint_options.h"
#include "deploy/train/run_folder.h"
#include "deploy/train/run_setup.h"
#include "deploy/train/training_data.h"

namespace troupe::deploy {

struct TrainOptions {
  std::string run;
  std::string resume;
  std::vector<std::string> settings;
  std::string out;
  bool is_dry_run = false;
  bool writes_training_text = false;
  std::string device;
  ClusterOptions cluster;
  FailpointOptions failpoints;
};

struct PreparedRun {
  const TrainOptions& options;
  RunSetup setup;
  const TrainingData data;
  const std::vector<actors::Failpoint> failpoints;
  RunFolder folder;
  const std::unique_ptr<MeetingPoint> meeting;  // null: there is one process
  const std::optional<LeasedRun> lease;         // none: the folder's lock says who leads
};

/// Throws when something is wrong with the run.
PreparedRun prepare(const TrainOptions& options, RunSetup setup);

/// Waits until this process leads the run; plans it as it is to be led then. The journal gets what it
/// lacks.
Mandate take_the_lead(PreparedRun& prepared, const LeaderLife& life, runtime::JournalHistory& history);

/// Nodes, and what they hold of the run.
struct Gathered {
  std::unique_ptr<Gathering> nodes;  ///< null: there is one process
  /// They hold all of the last commit, each in its place. If Gathering::regroup says who held what, blocks
  /// have to move first; else they hold nothing.
  bool takes_over = false;
};

/// Those of a lost leader, if they hold all of the last commit; else new ones.
Gathered gather(const PreparedRun& prepared, runtime::Leadership* leadership, const Mandate& mandate,
                const runtime::JournalHistory& history, const NodeProcessesPtr& processes,
                HeldParts& parts);

/// Those of a run that goes on with others than before: `to` but for its `choose`. Throws ClusterError, Fenced,
/// StoppedBySignal.
Gathered regroup(const PreparedRun& prepared, runtime::Leadership* leadership,
                 const NodeProcessesPtr& processes, HeldParts& parts, Regrouping to,
                 const StopSignals* signals);

}  // namespace troupe::deploy
