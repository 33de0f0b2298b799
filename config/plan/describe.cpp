#include "config/plan/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "config/parameters.h"
#include "config/phases.h"
#include "config/plan/memory.h"
#include "config/plan/size_text.h"

namespace troupe::config {

namespace {

/// "0 2 4", or "0 2 .. 198, 100 in all" of a long list.
std::string list_text(const std::vector<int>& numbers) {
  if (numbers.size() <= 32) return fmt::format("{}", fmt::join(numbers, " "));
  return fmt::format("{} {} .. {}, {} in all", numbers[0], numbers[1], numbers.back(),
                     grouped(static_cast<int64_t>(numbers.size())));
}

std::string heads_text(const Model& m) {
  std::string text = fmt::format("{} heads", m.heads());
  if (m.attention() == Model::MLA) return text;
  return text +
         fmt::format(" on {} of keys ({})", key_heads(m), Model::Attention_Name(m.attention()));
}

std::string describe_model(const PlanArgs& args) {
  const Model& m = args.model.model;
  const ParameterCounts counts = count_parameters(m);
  const int32_t seq_len = args.run.run.data().seq_len();
  std::string text = fmt::format(
      "model       {} layers ({} dense), hidden {}, {}, {} experts in {} groups, {} a token\n"
      "parameters  {} total, {} activated by a token",
      m.layers(), m.dense_layers(), m.hidden_size(), heads_text(m), m.experts(), m.expert_groups(),
      m.experts_per_token(), grouped(counts.total), grouped(counts.activated));
  if (m.mtp_layers() > 0) text += fmt::format("; MTP {}", grouped(counts.mtp));
  text += fmt::format(
      "\ncache       {} a token in BF16\n"
      "training    {:.4g} GFLOP a token at {} tokens a sequence, without MTP\n",
      size_text(cache_bytes_per_token(m, 2)), train_flops_per_token(m, seq_len) / 1e9, seq_len);
  return text;
}

/// Of a run whose steps vary.
std::string describe_steps(const PlanArgs& args) {
  const Run& run = args.run.run;
  std::string text = fmt::format("step        at most {} micro-batches; {} steps\n",
                                 largest_step(run).micro_batches, grouped(run.train().steps()));
  const bool varies = run.train().schedule().has_micro_batches();
  for (const PhaseSettings& phase : phases_of(run, positions_of(args.model.model))) {
    const std::string count =
        !phase.micro_batches && varies
            ? "a schedule of"
            : grouped(phase.micro_batches.value_or(run.train().micro_batches()));
    text += fmt::format("  from step {}: {} micro-batches of {} sequences of {} tokens",
                        grouped(phase.after_steps + 1), count, phase.micro_batch, phase.seq_len);
    text += phase.yarn ? fmt::format(", positions x {}\n", phase.yarn->factor()) : "\n";
  }
  return text;
}

std::string describe_step(const PlanArgs& args) {
  const Train& train = args.run.run.train();
  const int32_t seq_len = args.run.run.data().seq_len();
  if (train.has_schedule() || train.phase_size() > 0) return describe_steps(args);
  const int64_t tokens = int64_t{train.micro_batch()} * train.micro_batches() * seq_len;
  return fmt::format(
      "step        {} micro-batches of {} sequences of {} tokens: {} tokens; {} steps: {} tokens\n",
      train.micro_batches(), train.micro_batch(), seq_len, grouped(tokens), grouped(train.steps()),
      grouped(tokens * train.steps()));
}

/// "0 to 7", "3", or "0 2 4" of what is no range; processes are ascending.
std::string range_text(const std::vector<int>& numbers) {
  const bool is_range = numbers.back() - numbers.front() + 1 == static_cast<int>(numbers.size());
  if (numbers.size() == 1) return std::to_string(numbers[0]);
  return is_range ? fmt::format("{} to {}", numbers.front(), numbers.back()) : list_text(numbers);
}

std::string processes_text(const std::vector<int>& processes) {
  return (processes.size() == 1 ? "process " : "processes ") + range_text(processes);
}

/// Calls `line` for the numbers below n, or, of many, for the first and the last few.
template <class F>
std::string some_lines(int n, F line) {
  constexpr int most = 16, at_ends = 2;
  std::string text;
  for (int i = 0; i < n; ++i) {
    if (n > most && i == at_ends) {
      text += fmt::format("  ..\n");
      i = n - at_ends;
    }
    text += line(i);
  }
  return text;
}

std::string describe_stage(const PlanArgs& args, const Plan& plan, int s) {
  const StagePlan& stage = plan.stages[static_cast<size_t>(s)];
  const bool last = s + 1 == plan.pipeline;
  return fmt::format(
      "  stage {}   {}layers {} to {}{}{}, {} parameters\n", s, s == 0 ? "embedding, " : "",
      stage.first_layer, stage.first_layer + stage.layers - 1, last ? ", head" : "",
      last && args.model.model.mtp_layers() > 0 ? ", MTP" : "", grouped(stage.parameters));
}

std::string describe_rank(const Plan& plan, int rank) {
  const auto held = stages_of_rank(plan.schedule, plan.pipeline, rank);
  std::vector<int> processes(plan.process_of_worker.begin() + rank * plan.data,
                             plan.process_of_worker.begin() + (rank + 1) * plan.data);
  processes.erase(std::unique(processes.begin(), processes.end()), processes.end());
  return fmt::format("  rank {}    {} {}: {} with {} attention shard{} each, in {}\n", rank,
                     held.size() == 1 ? "stage" : "stages", fmt::join(held, " and "),
                     plan.data == 1 ? "1 worker" : fmt::format("{} workers", plan.data),
                     plan.attention, plan.attention == 1 ? "" : "s", processes_text(processes));
}

std::string describe_expert_shard(const Plan& plan, int e) {
  const ExpertRange& range = plan.experts[static_cast<size_t>(e)];
  std::vector<int> processes;
  for (int s = 0; s < plan.pipeline; ++s) {
    for (int r = 0; r < plan.expert_replicas; ++r) processes.push_back(plan.process_of_expert(s, r, e));
  }
  std::sort(processes.begin(), processes.end());
  processes.erase(std::unique(processes.begin(), processes.end()), processes.end());
  return fmt::format("  expert {}  experts {} to {} of every MoE layer, in {}\n", e, range.first,
                     range.first + range.count - 1, processes_text(processes));
}

std::string describe_placement(const PlanArgs& args, const Plan& plan) {
  const int processes = std::max(1, plan.processes);
  std::string text = fmt::format(
      "placement   {} {} x {} data = {} workers in {} process{}, {} thread{} each; {}; "
      "{} attention, {}{} expert, {} optimizer shards; redundancy {}: {}\n",
      plan.ranks(), plan.ranks() == plan.pipeline ? "pipeline" : "ranks of the pipeline", plan.data,
      plan.ranks() * plan.data, processes, processes == 1 ? "" : "es", plan.threads,
      plan.threads == 1 ? "" : "s", Parallel::Schedule_Name(plan.schedule), plan.attention,
      plan.expert_replicas > 1 ? fmt::format("{} x ", plan.expert_replicas) : "", plan.expert, plan.optimizer_shards,
      plan.redundancy,
      plan.redundancy == 0 ? "no buddies" : "a buddy on another node");
  text += some_lines(plan.pipeline, [&](int s) { return describe_stage(args, plan, s); });
  text += some_lines(plan.ranks(), [&](int rank) { return describe_rank(plan, rank); });
  text += some_lines(plan.data, [&](int d) {
    return fmt::format("  data {}    micro-batches {}\n", d,
                       list_text(plan.micro_batches[static_cast<size_t>(d)]));
  });
  text += some_lines(plan.expert, [&](int e) { return describe_expert_shard(plan, e); });
  return text + some_lines(plan.optimizer_shards, [&](int shard) {
           return fmt::format("  optimizer {}  in process {}\n", shard, shard % processes);
         });
}

std::string some(const char* what, int64_t bytes) {
  return bytes > 0 ? fmt::format(", {} {}", what, size_text(bytes)) : "";
}

std::string parts_of(const MemoryEstimate& memory) {
  return fmt::format("weights {}, moments {}, {}gradients {}, activations {}{}",
                     size_text(memory.weight_bytes), size_text(memory.moment_bytes),
                     memory.ema_bytes > 0 ? "EMA " + size_text(memory.ema_bytes) + ", " : "",
                     size_text(memory.gradient_bytes), size_text(memory.activation_bytes),
                     some("scratch", memory.scratch_bytes));
}

std::string size_of(double bytes) { return size_text(static_cast<int64_t>(std::min(bytes, 4e18))); }

std::string memory_line(int process, const MemoryEstimate& memory) {
  return fmt::format("  process {}  {}: {}{}{}{}{}\n", process, size_of(memory.total()),
                     parts_of(memory), some("buffers", memory.buffer_bytes),
                     some("arriving", memory.arriving_bytes),
                     some("checkpoint", memory.checkpoint_bytes),
                     some("program", memory.base_bytes));
}

/// Of all processes, or of many those with least and most.
std::string describe_memory(const PlanArgs& args, const Plan& plan) {
  const auto processes = estimate_processes(args, plan);
  std::string text = "memory      of a process, at its highest; process 0 has the tokens of its text beside\n";
  if (processes.size() <= 16) {
    for (size_t p = 0; p < processes.size(); ++p) {
      text += memory_line(static_cast<int>(p), processes[p]);
    }
    return text;
  }
  const auto [least, most] = std::ranges::minmax_element(
      processes, {}, [](const MemoryEstimate& memory) { return memory.total(); });
  text += memory_line(static_cast<int>(least - processes.begin()), *least);
  return text + memory_line(static_cast<int>(most - processes.begin()), *most);
}

std::string describe_wire(const WireBytes& bytes) {
  const auto size = [](double value) {
    return size_text(static_cast<int64_t>(std::min(value, 4e18)));
  };
  if (bytes.total() == 0) return "wire        nothing leaves a process\n";
  return fmt::format(
      "wire        {} a step between processes: stages {}, rows of experts {}, gradients and "
      "weights "
      "{}\n",
      size(bytes.total()), size(bytes.pipeline), size(bytes.experts), size(bytes.state));
}

std::string describe_prediction(const PlanArgs& args, const Plan& plan,
                                const std::optional<MachineRates>& rates) {
  if (!rates) {
    return describe_wire(wire_bytes(args, plan)) +
           "step time   not predicted: no machine has been measured\n";
  }
  const StepPrediction step = predict_step(args, plan, *rates);
  const StepExtents extents = largest_step(args.run.run);
  const double tokens = static_cast<double>(extents.micro_batch_tokens) * extents.micro_batches;
  const std::string transfers = plan.processes == 1 ? ""
                                : rates->bandwidth > 0
                                    ? fmt::format(" and sends {:.3g} GB/s", rates->bandwidth / 1e9)
                                    : "; transfers take no time";
  return describe_wire(step.wire) +
         fmt::format(
             "step time   {:.4g} s, {:.4g} tokens/s, if a process reaches {:.4g} GFLOP/s{}\n"
             "  pipeline {:.4g} s, of which a rank waits at most {:.1f}%; gradients and weights "
             "{:.4g} s\n",
             step.seconds, tokens / step.seconds, rates->flops / 1e9, transfers,
             step.pipeline_seconds, 100 * step.idle_share, step.state_seconds);
}

}  // namespace

std::string describe_needed(const MemoryEstimate& memory) {
  return size_of(memory.needed()) + ": " + parts_of(memory);
}

std::string describe_plan(const PlanArgs& args, const Plan& plan,
                          const std::optional<MachineRates>& rates) {
  return describe_model(args) + describe_step(args) + describe_placement(args, plan) +
         describe_memory(args, plan) + describe_prediction(args, plan, rates);
}

}  // namespace troupe::config
