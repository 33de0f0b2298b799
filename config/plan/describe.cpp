#include "config/plan/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "config/errors.h"
#include "config/parameters.h"
#include "config/phases.h"
#include "config/plan/schedule.h"

namespace troupe::config {

namespace {

/// "671,026,419,200".
std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string size_text(int64_t bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto size = static_cast<double>(bytes);
  size_t unit = 0;
  while (size >= 1024 && unit + 1 < std::size(units)) {
    size /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", size, unit == 0 ? 0 : 1, units[unit]);
}

/// Floats that a layer keeps of one token for its backward pass, unless they are recomputed.
int64_t recomputed_floats(const Model& m, int32_t layer) {
  const int64_t queries = int64_t{m.heads()} * query_head_width(m);
  const int64_t values = int64_t{m.heads()} * value_head_width(m);
  // The normed input; of MLA the normed latents with the rotated key, queries, keys and values; the
  // inverse roots of the norms; the outputs of SwiGLU. GQA keeps what is not a norm.
  const int64_t mla = m.q_lora_rank() + m.kv_lora_rank() + m.qk_rope_head_dim() + 2 * queries +
                      values + (m.q_lora_rank() > 0 ? 2 : 1);
  const int64_t attention = m.hidden_size() + 1 + (m.attention() == Model::MLA ? mla : 0);
  if (layer < m.dense_layers()) return attention + m.dense_intermediate_size();
  return attention + (int64_t{m.experts_per_token()} + m.shared_experts()) *
                         m.expert_intermediate_size();
}

/// Floats that a layer keeps of one token for its backward pass, if nothing is recomputed.
int64_t saved_floats(const Model& m, int32_t layer) {
  const int64_t hidden = m.hidden_size();
  const int64_t queries = int64_t{m.heads()} * query_head_width(m);
  const int64_t values = int64_t{m.heads()} * value_head_width(m);
  // Input and normed input of both halves; queries, keys, values, attention's output and the
  // logarithm of its sum; of MLA latents before and after their norms, and keys of every head.
  const bool is_mla = m.attention() == Model::MLA;
  const int64_t keys = is_mla ? 2 * m.q_lora_rank() + 2 * m.kv_lora_rank() + m.qk_rope_head_dim() +
                                    queries + values
                              : cache_width(m);
  const int64_t attention = 4 * hidden + queries + keys + values + m.heads();
  if (layer < m.dense_layers()) return attention + 3 * m.dense_intermediate_size();
  const int64_t rows = m.experts_per_token();
  return attention + m.experts() + 3 * rows +
         rows * (2 * hidden + 3 * m.expert_intermediate_size()) +
         3 * int64_t{m.shared_experts()} * m.expert_intermediate_size();
}

int64_t stage_saved_floats(const Model& m, const StagePlan& stage) {
  int64_t floats = 0;
  for (int layer = stage.first_layer; layer < stage.first_layer + stage.layers; ++layer) {
    floats += saved_floats(m, layer);
  }
  if (stage.first_layer + stage.layers == m.layers()) {
    floats += 3 * m.hidden_size();
    floats += m.mtp_layers() * (saved_floats(m, m.layers()) + 6 * m.hidden_size());
  }
  return floats;
}

int64_t stage_recomputed_floats(const Model& m, const StagePlan& stage) {
  int64_t floats = 0;
  for (int layer = stage.first_layer; layer < stage.first_layer + stage.layers; ++layer) {
    floats += recomputed_floats(m, layer);
  }
  const bool is_last = stage.first_layer + stage.layers == m.layers();
  return floats + (is_last ? m.mtp_layers() * recomputed_floats(m, m.layers()) : 0);
}

/// "0 2 4", or "0 2 .. 198, 100 in all" of a long list.
std::string list_text(const std::vector<int>& numbers) {
  if (numbers.size() <= 32) return fmt::format("{}", fmt::join(numbers, " "));
  return fmt::format("{} {} .. {}, {} in all", numbers[0], numbers[1], numbers.back(),
                     grouped(static_cast<int64_t>(numbers.size())));
}

std::string heads_text(const Model& m) {
  std::string text = fmt::format("{} heads", m.heads());
  if (m.attention() == Model::MLA) return text;
  return text + fmt::format(" on {} of keys ({})", key_heads(m),
                            Model::Attention_Name(m.attention()));
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
    const std::string count = !phase.micro_batches && varies
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

std::string describe_placement(const PlanArgs& args, const Plan& plan) {
  std::string text = fmt::format(
      "placement   {} pipeline x {} data = {} workers in 1 process, {} threads; "
      "{} attention, {} expert, {} optimizer shards\n",
      plan.pipeline, plan.data, plan.pipeline * plan.data, plan.threads, plan.attention,
      plan.expert, plan.optimizer_shards);
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const StagePlan& stage = plan.stages[i];
    const bool last = i + 1 == plan.stages.size();
    const MemoryEstimate memory = estimate_memory(args, plan, static_cast<int>(i));
    text += fmt::format(
        "  stage {}   {}layers {} to {}{}{}, {} parameters\n", i, i == 0 ? "embedding, " : "",
        stage.first_layer, stage.first_layer + stage.layers - 1, last ? ", head" : "",
        last && args.model.model.mtp_layers() > 0 ? ", MTP" : "", grouped(stage.parameters));
    text += fmt::format(
        "    memory  weights {}, moments {}, {}gradients {}, activations {} a data worker\n",
        size_text(memory.weight_bytes), size_text(memory.moment_bytes),
        memory.ema_bytes > 0 ? "EMA " + size_text(memory.ema_bytes) + ", " : "",
        size_text(memory.gradient_bytes), size_text(memory.activation_bytes));
  }
  for (size_t i = 0; i < plan.micro_batches.size(); ++i) {
    text += fmt::format("  data {}    micro-batches {}\n", i, list_text(plan.micro_batches[i]));
  }
  for (size_t i = 0; i < plan.experts.size(); ++i) {
    text += fmt::format("  expert {}  experts {} to {} of every MoE layer\n", i,
                        plan.experts[i].first, plan.experts[i].first + plan.experts[i].count - 1);
  }
  return text;
}

}  // namespace

int64_t recomputed_bytes(const PlanArgs& args, const StagePlan& stage) {
  return 4 * largest_step(args.run.run).micro_batch_tokens *
         stage_recomputed_floats(args.model.model, stage);
}

MemoryEstimate estimate_memory(const PlanArgs& args, const Plan& plan, int stage) {
  const StagePlan& part = plan.stages[static_cast<size_t>(stage)];
  const Optimizer& optimizer = args.run.run.train().optimizer();
  const bool is_bf16 = optimizer.moments() == Optimizer::BF16;
  int live = 0;
  for (const auto& micro_batches : plan.micro_batches) {
    const PipelineLists lists = make_lists({.kind = Parallel::ONE_F_ONE_B,
                                            .stages = plan.pipeline,
                                            .micro_batches = micro_batches});
    live = std::max(live, largest_live(lists.of(stage)));
  }
  // In floating point: sizes that no machine has may go beyond 64 bits.
  const int64_t kept = stage_saved_floats(args.model.model, part) -
                       (args.run.run.train().recompute()
                            ? stage_recomputed_floats(args.model.model, part)
                            : 0);
  const double activations = 4.0 * live *
                             static_cast<double>(largest_step(args.run.run).micro_batch_tokens) *
                             static_cast<double>(kept);
  return {.weight_bytes = 2 * 4 * part.parameters,
          .moment_bytes = 2 * 2 * (is_bf16 ? 2 : 4) * part.parameters,
          .ema_bytes = optimizer.ema_decay() > 0 ? 2 * 4 * part.parameters : 0,
          .gradient_bytes = 8 * part.parameters,
          .activation_bytes = static_cast<int64_t>(std::min(activations, 4e18))};
}

void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes) {
  double needed = 0;
  for (int stage = 0; stage < plan.pipeline; ++stage) {
    const MemoryEstimate memory = estimate_memory(args, plan, stage);
    needed += static_cast<double>(memory.weight_bytes + memory.moment_bytes + memory.ema_bytes +
                                  memory.gradient_bytes);
    needed += plan.data * static_cast<double>(memory.activation_bytes);
  }
  if (needed <= static_cast<double>(memory_bytes)) return;
  throw ConfigError(describe(
      {args.run.origins.place("model"), "model",
       "one that takes " + size_text(static_cast<int64_t>(std::min(needed, 4e18))) + " to train",
       "at most the " + size_text(memory_bytes) + " of this machine"}));
}

std::string describe_plan(const PlanArgs& args, const Plan& plan) {
  return describe_model(args) + describe_step(args) + describe_placement(args, plan) +
         "step time   not predicted: no machine has been measured\n";
}

}  // namespace troupe::config
