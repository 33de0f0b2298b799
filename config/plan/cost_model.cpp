#include "config/plan/cost_model.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "config/phases.h"
#include "config/plan/expert_traffic.h"
#include "config/plan/parameter_groups.h"
#include "config/schedule/dealing.h"

namespace troupe::config {
namespace {

constexpr double row_bytes = 4;  // of an element

double bytes_of_rows(const PlanArgs& args) {
  return row_bytes * static_cast<double>(largest_step(args.run.run).micro_batch_tokens) *
         args.model.model.hidden_size();
}

/// Of a data worker's part in `process` with one micro-batch, in all MoE layers of a stage, both ways.
double expert_bytes(const PlanArgs& args, const Plan& plan, const ExpertTraffic& traffic, int stage,
                    int data_worker, int process) {
  return traffic.bytes(stage, plan.replica_of(data_worker), process) *
         static_cast<double>(largest_step(args.run.run).micro_batch_tokens) *
         moe_layers_of(args.model.model, plan.stages[static_cast<size_t>(stage)]);
}

int process_of(const Plan& plan, int rank, int data_worker) {
  return plan.process_of_worker[static_cast<size_t>(rank * plan.data + data_worker)];
}

/// Lists of a data worker's pipeline, with its micro-batches counted from 0: those of data workers
/// with as many are the same, and there may be thousands of workers.
class Pipelines {
 public:
  explicit Pipelines(const Plan& plan) : plan_(plan) {}

  const PipelineLists& of(int data_worker) {
    const size_t count = plan_.micro_batches[static_cast<size_t>(data_worker)].size();
    auto found = by_count_.find(count);
    if (found == by_count_.end()) {
      std::vector<int> numbers(count);
      std::iota(numbers.begin(), numbers.end(), 0);
      found =
          by_count_.emplace(count, lists_of_step({plan_.schedule, plan_.pipeline, numbers})).first;
    }
    return found->second;
  }

 private:
  const Plan& plan_;
  std::map<size_t, PipelineLists> by_count_;
};

/// Time to compute and to exchange rows, one after the other.
struct StageTimes {
  double forward, backward;                    // computing
  double forward_exchange, backward_exchange;  // rows of experts
};

StageTimes times_of(const PlanArgs& args, const Plan& plan, const MachineRates& rates,
                    const ExpertTraffic& traffic, int stage) {
  const double flops = plan.stages[static_cast<size_t>(stage)].flops *
                       static_cast<double>(largest_step(args.run.run).micro_batch_tokens);
  const int process = process_of(plan, expert_rank_of(plan, stage), 0);
  const double exchange = expert_bytes(args, plan, traffic, stage, 0, process) / 2 *
                          (rates.bandwidth > 0 ? 1 / rates.bandwidth : 0);
  return {.forward = flops / 3 / rates.flops,
          .backward = 2 * flops / 3 / rates.flops,
          .forward_exchange = exchange,
          .backward_exchange = exchange};
}

ScheduleCosts costs_of(const PlanArgs& args, const Plan& plan, const MachineRates& rates) {
  ScheduleCosts costs{.stages = {}, .beside = 1, .transfer = 0};
  const ExpertTraffic traffic(args, plan);
  double compute = 0, exchange = 0;
  for (int s = 0; s < plan.pipeline; ++s) {
    const StageTimes times = times_of(args, plan, rates, traffic, s);
    costs.stages.push_back({.forward = times.forward + times.forward_exchange,
                            .backward = times.backward + times.backward_exchange,
                            .backward_weight = times.backward / 2});
    compute += times.forward + times.backward;
    exchange += times.forward_exchange + times.backward_exchange;
  }
  costs.beside = std::max(compute, exchange) / (compute + exchange);
  if (rates.bandwidth > 0 && plan.processes > 1) {
    costs.transfer = bytes_of_rows(args) / rates.bandwidth;
  }
  return costs;
}

/// Of each data worker, what its ranks compute for one of its micro-batches, of `flops` for a token in
/// each stage: where a rank has two stages, each micro-batch may pass it in one of them.
std::vector<std::vector<UnitWork::Part>> worker_parts(const PlanArgs& args, const Plan& plan,
                                                      const std::vector<double>& flops) {
  const auto tokens = static_cast<double>(largest_step(args.run.run).micro_batch_tokens);
  std::vector<std::vector<UnitWork::Part>> workers;
  Pipelines pipelines(plan);
  for (int d = 0; d < plan.data; ++d) {
    const PipelineLists& lists = pipelines.of(d);
    const auto count = static_cast<double>(plan.micro_batches[static_cast<size_t>(d)].size());
    std::map<int, double> by_process;
    for (int rank = 0; rank < lists.ranks(); ++rank) {
      for (const Operation& o : lists.of(rank)) {
        if (o.kind != Operation::Kind::forward) continue;
        by_process[process_of(plan, rank, d)] += flops[static_cast<size_t>(o.stage)] * tokens / count;
      }
    }
    std::vector<UnitWork::Part>& parts = workers.emplace_back();
    for (const auto& [process, sum] : by_process) parts.push_back({process, sum});
  }
  return workers;
}

/// The largest sum of what the workers of one process compute.
double busiest_process(const PlanArgs& args, const Plan& plan, const MachineRates& rates) {
  std::vector<double> flops;
  for (const StagePlan& stage : plan.stages) flops.push_back(stage.flops);
  const UnitWork work{.workers = worker_parts(args, plan, flops),
                      .experts = std::vector<double>(static_cast<size_t>(std::max(1, plan.processes)))};
  return std::ranges::max(process_flops(work, shares_of(plan.micro_batches))) / rates.flops;
}

/// To what the process computes already.
void add(std::vector<UnitWork::Part>& parts, const UnitWork::Part& more) {
  const auto found = std::ranges::find(parts, more.process, &UnitWork::Part::process);
  if (found == parts.end()) {
    parts.push_back(more);
  } else {
    found->flops += more.flops;
  }
}

/// Of the routed experts of a stage, for a token.
double routed_flops(const Model& model, const StagePlan& stage) {
  return 6.0 * 3.0 * model.hidden_size() * model.expert_intermediate_size() *
         model.experts_per_token() * moe_layers_of(model, stage);
}

/// Seconds that the process with most of them needs to send gradients and weights.
double state_seconds(const PlanArgs& args, const Plan& plan, const MachineRates& rates) {
  if (rates.bandwidth <= 0) return 0;
  std::vector<double> sent(static_cast<size_t>(std::max(1, plan.processes)), 0);
  for (const ParameterGroup& group : parameter_groups(args, plan)) {
    // Of n users each owns an n-th: it sends the other gradients away, and its weights to the
    // others.
    const auto n = static_cast<double>(group.users.size());
    const double bytes = static_cast<double>(group.parameters) * (n - 1) / n * (8 + 4);
    for (int process : group.users) sent[static_cast<size_t>(process)] += bytes;
  }
  return *std::ranges::max_element(sent) / rates.bandwidth;
}

}  // namespace

UnitWork unit_work(const PlanArgs& args, const Plan& plan) {
  const Model& model = args.model.model;
  const auto tokens = static_cast<double>(largest_step(args.run.run).micro_batch_tokens);
  std::vector<double> others;
  for (const StagePlan& stage : plan.stages) others.push_back(stage.flops - routed_flops(model, stage));
  UnitWork work{.workers = worker_parts(args, plan, others),
                .experts = std::vector<double>(static_cast<size_t>(std::max(1, plan.processes)))};
  for (int s = 0; s < plan.pipeline; ++s) {
    const double routed = routed_flops(model, plan.stages[static_cast<size_t>(s)]) * tokens;
    for (int i = 0; i < plan.expert_replicas * plan.expert; ++i) {
      const int replica = i / plan.expert, e = i % plan.expert;
      const int process = plan.process_of_expert(s, replica, e);
      const double flops = routed * plan.experts[static_cast<size_t>(e)].count / model.experts();
      if (plan.expert_replicas == 1) work.experts[static_cast<size_t>(process)] += flops;
      for (int d = 0; d < plan.data && plan.expert_replicas > 1; ++d) {
        if (plan.replica_of(d) == replica) add(work.workers[static_cast<size_t>(d)], {process, flops});
      }
    }
  }
  return work;
}

std::vector<double> process_flops(const UnitWork& work, std::span<const int> shares) {
  const int all = std::accumulate(shares.begin(), shares.end(), 0);
  std::vector<double> flops = work.experts;
  for (double& one : flops) one *= all;
  for (size_t d = 0; d < work.workers.size(); ++d) {
    for (const UnitWork::Part& part : work.workers[d]) {
      flops[static_cast<size_t>(part.process)] += part.flops * shares[d];
    }
  }
  return flops;
}

WireBytes wire_bytes(const PlanArgs& args, const Plan& plan) {
  WireBytes bytes{};
  for (const ParameterGroup& group : parameter_groups(args, plan)) {
    bytes.state +=
        12.0 * static_cast<double>(group.parameters) * static_cast<double>(group.users.size() - 1);
  }
  if (plan.processes <= 1) return bytes;
  const ExpertTraffic traffic(args, plan);
  Pipelines pipelines(plan);
  for (int d = 0; d < plan.data; ++d) {
    const PipelineLists& lists = pipelines.of(d);
    const auto count_of_worker =
        static_cast<int>(plan.micro_batches[static_cast<size_t>(d)].size());
    for (int s = 0; s < plan.pipeline; ++s) {
      std::map<int, int> passing;  // micro-batches, by process
      for (int m = 0; m < count_of_worker; ++m) {
        const int process = process_of(plan, lists.rank_of(s, m), d);
        ++passing[process];
        const bool comes = s > 0 && process_of(plan, lists.rank_of(s - 1, m), d) != process;
        bytes.pipeline += comes ? 2 * bytes_of_rows(args) : 0;
      }
      for (const auto& [process, count] : passing) {
        bytes.experts += count * expert_bytes(args, plan, traffic, s, d, process);
      }
    }
  }
  return bytes;
}

StepPrediction predict_step(const PlanArgs& args, const Plan& plan, const MachineRates& rates) {
  StepPrediction prediction{};
  prediction.costs = costs_of(args, plan, rates);
  prediction.wire = wire_bytes(args, plan);
  const PlayedSchedule played = simulate(Pipelines(plan).of(0), prediction.costs);
  prediction.pipeline_seconds = std::max(played.makespan, busiest_process(args, plan, rates));
  prediction.idle_share = played.makespan > 0 ? played.largest_idle() / played.makespan : 0;
  prediction.state_seconds = state_seconds(args, plan, rates);
  prediction.seconds = prediction.pipeline_seconds + prediction.state_seconds;
  return prediction;
}

}  // namespace troupe::config
