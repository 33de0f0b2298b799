// Decides which actor does what. Nothing here changes a bit of the result (laws 1 and 2).
#pragma once

#include <cstdint>
#include <vector>

#include "config/load.h"
#include "config/schedule/schedule.h"

namespace troupe::config {

/// The layers of one pipeline stage. The first stage has the embedding as well, the last one the
/// final norm, the head and the MTP layer.
struct StagePlan {
  int first_layer;
  int layers;          ///< at least 1
  int64_t parameters;  ///< embedding, head and MTP layer included
  double flops;        ///< of training, per token
};

/// Expert ids [first, first + count).
struct ExpertRange {
  int first;
  int count;  ///< at least 1
};

struct Plan {
  int pipeline;   ///< stages
  int data;       ///< data workers; workers are ranks x data
  int expert;     ///< expert shards of a MoE layer, in each replica
  int attention;  ///< attention shards of a stage
  int optimizer_shards;
  int threads;  ///< that compute, of a process
  int processes;  ///< that the workers are spread over
  int redundancy;  ///< further copies of each state block, in other processes
  int expert_replicas = 1;  ///< sets of expert shards
  int buddy_stride = 1;  ///< they are so many processes further on; which machines these are on is not the plan's
  Parallel::Schedule schedule;
  std::vector<int> process_of_worker;        ///< of worker rank * data + d
  /// Of shard e of replica r in `stage`: (stage * expert_replicas + r) * expert + e.
  std::vector<int> process_of_expert_shard;
  std::vector<StagePlan> stages;
  /// Of each data worker, ascending: those of the run's largest step. A smaller one has those below
  /// its own number of them.
  std::vector<std::vector<int>> micro_batches;
  std::vector<ExpertRange> experts;             ///< of each expert shard

  /// Workers of a data worker's pipeline. For most schedules as many as stages.
  int ranks() const { return ranks_of(schedule, pipeline); }
  /// Whose experts a data worker's rows go to.
  int replica_of(int data_worker) const { return data_worker * expert_replicas / data; }
  int process_of_expert(int stage, int replica, int shard) const {
    return process_of_expert_shard[static_cast<size_t>((stage * expert_replicas + replica) * expert + shard)];
  }
};

struct PlanArgs {
  const LoadedRun& run;      ///< valid
  const LoadedModel& model;  ///< valid
  int cores;                 ///< of this machine
};

/// Fills in what `parallel` and `cluster` leave unset. Throws ConfigError, naming the field, if
/// what they set cannot be.
Plan make_plan(const PlanArgs& args);

/// Spreads workers and expert shards over the plan's processes: a rank of the pipeline has
/// neighbouring processes to itself where there are enough, and its workers and the expert shards of
/// its stages (those of a replica over the processes of the workers that it serves) are each spread evenly over
/// them. Of two ranks that hold a stage, the first that a
/// micro-batch going up meets has its expert shards. A process may be left without work.
void place(Plan& plan);

/// The rank whose processes have the expert shards of a stage.
int expert_rank_of(const Plan& plan, int stage);

/// Cuts costs[0..n) into `parts` non-empty runs so that the most costly run costs least; returns
/// the length of each. 1 <= parts <= n.
std::vector<int> balanced_cut(const std::vector<double>& costs, int parts);

}  // namespace troupe::config
