#include "config/plan/planner.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "config/checks.h"
#include "config/parameters.h"
#include "config/phases.h"
#include "config/schedule/dealing.h"

namespace troupe::config {

namespace {

/// A planned number: what the user set, else `otherwise`.
int chosen(bool set, int32_t value, int otherwise) { return set ? value : otherwise; }

bool has_experts(const Model& model) {
  return model.dense_layers() < model.layers() || model.mtp_layers() > 0;
}

void check_limits(const PlanArgs& args, const Plan& plan) {
  const Model& model = args.model.model;
  Checks checks(args.run.origins);
  const auto limit = [&](const char* field, int value, int highest, const char* what) {
    if (value > highest) {
      checks.add(field, fmt::format("{}", value), fmt::format("at most {}, {}", highest, what));
    }
  };
  limit("parallel.pipeline", plan.pipeline, model.layers(), "the layers of the model");
  const int micro_batches = largest_step(args.run.run).micro_batches;
  limit("parallel.data", plan.data, micro_batches, "the micro-batches of a step");
  limit("parallel.expert", plan.expert, has_experts(model) ? model.experts() : 1,
        "the experts of a layer");
  limit("parallel.attention", plan.attention, micro_batches,
        "the micro-batches of a step, which attention shards take whole");
  checks.finish();
}

/// The schedule with every data worker's micro-batches; at a step that has fewer, its ranks play
/// others (lists_of_step).
void check_schedule_of(const PlanArgs& args, const Plan& plan) {
  Checks checks(args.run.origins);
  for (const auto& micro_batches : plan.micro_batches) {
    const ScheduleArgs schedule{plan.schedule, plan.pipeline, micro_batches};
    const Objection objection = objection_to(schedule);
    if (!objection) continue;
    checks.add("parallel.schedule", objection.found,
               fmt::format("{}; or {}", objection.wanted,
                           Parallel::Schedule_Name(nearest_playable(schedule).kind)));
    break;
  }
  checks.finish();
}

std::vector<StagePlan> plan_stages(const PlanArgs& args, int pipeline) {
  const Model& model = args.model.model;
  const ParameterCounts counts = count_parameters(model);
  const int32_t seq_len = args.run.run.data().seq_len();
  std::vector<double> costs;
  for (int32_t layer = 0; layer < model.layers(); ++layer) {
    costs.push_back(layer_train_flops_per_token(model, layer, seq_len));
  }
  costs.back() += head_train_flops_per_token(model);
  if (model.mtp_layers() > 0) {
    const double eh_proj = 12.0 * model.hidden_size() * model.hidden_size();
    costs.back() += model.mtp_layers() *
                    (layer_train_flops_per_token(model, model.layers(), seq_len) + eh_proj +
                     head_train_flops_per_token(model));
  }
  std::vector<StagePlan> stages;
  int first = 0;
  for (int layers : balanced_cut(costs, pipeline)) {
    StagePlan stage{first, layers, 0, 0};
    for (int layer = first; layer < first + layers; ++layer) {
      stage.parameters += layer_parameters(model, layer);
      stage.flops += costs[static_cast<size_t>(layer)];
    }
    stages.push_back(stage);
    first += layers;
  }
  stages.front().parameters += counts.embedding;
  stages.back().parameters += counts.embedding + model.hidden_size() + counts.mtp;
  return stages;
}

/// Cuts 0..n-1 into ranges whose lengths differ by at most one.
std::vector<ExpertRange> cut_experts(int n, int shards) {
  std::vector<ExpertRange> ranges;
  for (int64_t i = 0; i < shards; ++i) {
    const int begin = static_cast<int>(n * i / shards);
    const int end = static_cast<int>(n * (i + 1) / shards);
    ranges.push_back({begin, end - begin});
  }
  return ranges;
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

/// How many runs of at most `limit` the costs need, or none if one cost is above it.
bool fits(const std::vector<double>& costs, int parts, double limit) {
  int used = 1;
  double sum = 0;
  for (double cost : costs) {
    if (cost > limit) return false;
    if (sum + cost > limit) {
      ++used;
      sum = 0;
    }
    sum += cost;
  }
  return used <= parts;
}

}  // namespace

std::vector<int> balanced_cut(const std::vector<double>& costs, int parts) {
  double low = 0;
  double high = std::accumulate(costs.begin(), costs.end(), 0.0);
  for (int i = 0; i < 64; ++i) {
    const double middle = low + (high - low) / 2;
    (fits(costs, parts, middle) ? high : low) = middle;
  }
  std::vector<int> lengths;
  size_t next = 0;
  for (int part = 0; part < parts; ++part) {
    const size_t left_for_others = static_cast<size_t>(parts - part - 1);
    const bool last = left_for_others == 0;
    double sum = 0;
    int length = 0;
    while (costs.size() - next > left_for_others &&
           (last || length == 0 || sum + costs[next] <= high)) {
      sum += costs[next++];
      ++length;
    }
    lengths.push_back(length);
  }
  return lengths;
}

namespace {

/// Neighbouring processes: [first, first + count).
struct ProcessRange {
  int first, count;

  /// Of item i of n.
  int of(int i, int n) const { return first + i * count / n; }
};

ProcessRange processes_of_rank(const Plan& plan, int rank) {
  const int processes = std::max(1, plan.processes);
  const int first = rank * processes / plan.ranks();
  return {first, std::max(1, (rank + 1) * processes / plan.ranks() - first)};
}

/// Of those of a rank, from those of the replica's first worker to those of the next one's.
ProcessRange processes_of_replica(const Plan& plan, const ProcessRange& of_rank, int replica) {
  const auto begin = [&](int r) {
    int worker = 0;
    while (worker < plan.data && plan.replica_of(worker) < r) ++worker;
    return worker < plan.data ? of_rank.of(worker, plan.data) : of_rank.first + of_rank.count;
  };
  return {begin(replica), std::max(1, begin(replica + 1) - begin(replica))};
}

bool has_two_stages(Parallel::Schedule schedule) {
  return schedule == Parallel::DUALPIPE || schedule == Parallel::DUALPIPE_V;
}

/// As many stages as there are processes that no data worker can take, if there are layers for them.
int planned_pipeline(const PlanArgs& args, const Plan& plan, int most_data) {
  const int layers = args.model.model.layers();
  const int stages = std::min(divide_up(plan.processes, most_data), layers);
  const bool is_odd = has_two_stages(plan.schedule) && stages % 2 != 0;
  return is_odd && stages < layers ? stages + 1 : stages;
}

/// At most `wanted` data workers: the largest number whose micro-batches the schedule can play.
int planned_data(const Plan& plan, int wanted, int micro_batches) {
  for (int data = std::min(wanted, micro_batches); data > 1; --data) {
    const auto hands = deal(equal_shares(micro_batches, data));
    const auto plays = [&](const std::vector<int>& hand) {
      return !objection_to({plan.schedule, plan.pipeline, hand});
    };
    if (std::ranges::all_of(hands, plays)) return data;
  }
  return 1;
}

}  // namespace

int expert_rank_of(const Plan& plan, int stage) {
  return stage < plan.ranks() ? stage : plan.pipeline - 1 - stage;
}

void place(Plan& plan) {
  plan.process_of_worker.clear();
  plan.process_of_expert_shard.clear();
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    const ProcessRange processes = processes_of_rank(plan, rank);
    for (int d = 0; d < plan.data; ++d) {
      plan.process_of_worker.push_back(processes.of(d, plan.data));
    }
  }
  for (int stage = 0; stage < plan.pipeline; ++stage) {
    const ProcessRange processes = processes_of_rank(plan, expert_rank_of(plan, stage));
    for (int r = 0; r < plan.expert_replicas; ++r) {
      const ProcessRange its = processes_of_replica(plan, processes, r);
      for (int e = 0; e < plan.expert; ++e) plan.process_of_expert_shard.push_back(its.of(e, plan.expert));
    }
  }
}

Plan make_plan(const PlanArgs& args) {
  const Parallel& parallel = args.run.run.parallel();
  const Cluster& cluster = args.run.run.cluster();
  const int micro_batches = largest_step(args.run.run).micro_batches;
  const int experts = has_experts(args.model.model) ? args.model.model.experts() : 1;
  Plan plan{};
  plan.schedule = parallel.schedule();
  plan.processes = std::max(1, cluster.nodes());
  plan.redundancy = chosen(cluster.has_redundancy(), cluster.redundancy(),
                           plan.processes > 1 ? 1 : 0);
  // Processes of one machine share its cores; of several, `cluster.threads` says what each has.
  plan.threads = chosen(cluster.has_threads(), cluster.threads(),
                        std::max(args.cores / plan.processes, 1));
  // As many workers as there are processes, if micro-batches and layers allow.
  const int most_data = parallel.has_data() ? parallel.data() : micro_batches;
  plan.pipeline = chosen(parallel.has_pipeline(), parallel.pipeline(),
                         planned_pipeline(args, plan, most_data));
  // A GPU is full with one worker; several would take turns, each with memory of its own.
  const int at_once = cluster.device() == Cluster::CUDA ? 1 : plan.threads;
  const int wanted_data = divide_up(plan.processes * at_once, std::max(1, plan.ranks()));
  plan.data = chosen(parallel.has_data(), parallel.data(),
                     planned_data(plan, wanted_data, micro_batches));
  plan.expert_replicas = std::min(parallel.has_expert_replicas() ? parallel.expert_replicas() : 1, plan.data);
  plan.expert = chosen(parallel.has_expert(), parallel.expert(),
                       std::min(divide_up(plan.data, plan.expert_replicas), experts));
  plan.attention = chosen(parallel.has_attention(), parallel.attention(), 1);
  const int shards = chosen(parallel.has_optimizer(), parallel.optimizer(), at_once);
  plan.optimizer_shards = divide_up(shards, plan.processes) * plan.processes;
  check_limits(args, plan);
  plan.micro_batches = deal(equal_shares(micro_batches, plan.data));
  check_schedule_of(args, plan);
  place(plan);
  plan.stages = plan_stages(args, plan.pipeline);
  plan.experts = cut_experts(experts, plan.expert);
  return plan;
}

}  // namespace troupe::config
