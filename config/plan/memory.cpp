#include "config/plan/memory.h"

#include <algorithm>
#include <map>

#include "config/errors.h"
#include "config/parameters.h"
#include "config/phases.h"
#include "config/plan/parameter_groups.h"
#include "config/plan/size_text.h"

namespace troupe::config {

namespace {

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
  return attention +
         (int64_t{m.experts_per_token()} + m.shared_experts()) * m.expert_intermediate_size();
}

/// Floats that a layer keeps of one token for its backward pass, if nothing is recomputed.
int64_t saved_floats(const Model& m, int32_t layer) {
  const int64_t hidden = m.hidden_size();
  const int64_t queries = int64_t{m.heads()} * query_head_width(m);
  const int64_t values = int64_t{m.heads()} * value_head_width(m);
  // Input and normed input of both halves; queries, keys, values, attention's output and the
  // logarithm of its sum; of MLA latents before and after their norms, and keys of every head.
  const bool is_mla = m.attention() == Model::MLA;
  const int64_t keys =
      is_mla ? 2 * m.q_lora_rank() + 2 * m.kv_lora_rank() + m.qk_rope_head_dim() + queries + values
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

/// No machine has more, and it can be added up.
int64_t bounded(double bytes) { return static_cast<int64_t>(std::min(bytes, 4e17)); }

/// Bytes of the activations that ranks keep at most.
class Activations {
 public:
  Activations(const PlanArgs& args, const Plan& plan) : plan_(plan) {
    const bool recomputes = args.run.run.train().recompute();
    for (const StagePlan& stage : plan.stages) {
      const int64_t floats = stage_saved_floats(args.model.model, stage) -
                             (recomputes ? stage_recomputed_floats(args.model.model, stage) : 0);
      bytes_.push_back(4.0 * static_cast<double>(floats) *
                       static_cast<double>(largest_step(args.run.run).micro_batch_tokens));
    }
  }

  /// Of a rank with so many micro-batches.
  double of(int rank, size_t micro_batches) {
    auto [found, is_new] = by_count_.try_emplace(micro_batches);
    if (is_new) {
      std::vector<int> numbers(micro_batches);
      const PipelineLists lists = lists_of_step({plan_.schedule, plan_.pipeline, numbers});
      for (int r = 0; r < lists.ranks(); ++r) found->second.push_back(largest(lists.of(r)));
    }
    return found->second[static_cast<size_t>(rank)];
  }

 private:
  double largest(const std::vector<Operation>& list) const {
    double kept = 0, largest = 0;
    for (const Operation& operation : list) {
      const double bytes = bytes_[static_cast<size_t>(operation.stage)];
      if (operation.kind == Operation::Kind::backward_input) continue;
      kept += operation.kind == Operation::Kind::forward ? bytes : -bytes;
      largest = std::max(largest, kept);
    }
    return largest;
  }

  const Plan& plan_;
  std::vector<double> bytes_;                       // of a micro-batch, by stage
  std::map<size_t, std::vector<double>> by_count_;  // by number of micro-batches, then rank
};

/// Of `used` parameters, `owned` of them with moments.
MemoryEstimate state_memory(const PlanArgs& args, double used, double owned) {
  const Optimizer& optimizer = args.run.run.train().optimizer();
  const int moment = optimizer.moments() == Optimizer::BF16 ? 2 : 4;
  return {.weight_bytes = bounded(2 * 4 * used),
          .moment_bytes = bounded(2 * 2 * moment * owned),
          .ema_bytes = optimizer.ema_decay() > 0 ? bounded(2 * 4 * owned) : 0,
          .gradient_bytes = bounded(8 * used),
          .activation_bytes = 0};
}

}  // namespace

double MemoryEstimate::total() const {
  return static_cast<double>(weight_bytes) + static_cast<double>(moment_bytes) +
         static_cast<double>(ema_bytes) + static_cast<double>(gradient_bytes) +
         static_cast<double>(activation_bytes);
}

int64_t recomputed_bytes(const PlanArgs& args, const StagePlan& stage) {
  return 4 * largest_step(args.run.run).micro_batch_tokens *
         stage_recomputed_floats(args.model.model, stage);
}

MemoryEstimate estimate_memory(const PlanArgs& args, const Plan& plan, int stage) {
  const auto parameters = static_cast<double>(plan.stages[static_cast<size_t>(stage)].parameters);
  MemoryEstimate memory = state_memory(args, parameters, parameters);
  Activations activations(args, plan);
  double largest = 0;
  for (const auto& micro_batches : plan.micro_batches) {
    largest = std::max(largest, activations.of(expert_rank_of(plan, stage), micro_batches.size()));
  }
  memory.activation_bytes = bounded(largest);
  return memory;
}

std::vector<MemoryEstimate> estimate_processes(const PlanArgs& args, const Plan& plan) {
  const auto count = static_cast<size_t>(std::max(1, plan.processes));
  std::vector<double> used(count, 0), owned(count, 0), kept(count, 0);
  for (const ParameterGroup& group : parameter_groups(args, plan)) {
    const auto parameters = static_cast<double>(group.parameters);
    for (int process : group.users) {
      used[static_cast<size_t>(process)] += parameters;
      owned[static_cast<size_t>(process)] += parameters / static_cast<double>(group.users.size());
    }
  }
  Activations activations(args, plan);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (int d = 0; d < plan.data; ++d) {
      const int process = plan.process_of_worker[static_cast<size_t>(rank * plan.data + d)];
      kept[static_cast<size_t>(process)] +=
          activations.of(rank, plan.micro_batches[static_cast<size_t>(d)].size());
    }
  }
  std::vector<MemoryEstimate> memory;
  for (size_t p = 0; p < count; ++p) {
    memory.push_back(state_memory(args, used[p], owned[p]));
    memory.back().activation_bytes = bounded(kept[p]);
  }
  return memory;
}

void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes) {
  double needed = 0;
  for (const MemoryEstimate& process : estimate_processes(args, plan)) needed += process.total();
  if (needed <= static_cast<double>(memory_bytes)) return;
  throw ConfigError(describe(
      {args.run.origins.place("model"), "model",
       "one that takes " + size_text(static_cast<int64_t>(std::min(needed, 4e18))) + " to train",
       "at most the " + size_text(memory_bytes) + " of this machine"}));
}

}  // namespace troupe::config
