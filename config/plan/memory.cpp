#include "config/plan/memory.h"

#include <algorithm>
#include <map>

#include "config/parameters.h"
#include "config/phases.h"
#include "config/plan/expert_traffic.h"
#include "config/plan/layer_memory.h"
#include "config/plan/parameter_groups.h"
#include "config/plan/size_text.h"
#include "config/text/errors.h"

namespace troupe::config {

namespace {

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

/// Of buffers that are in use at once: rounding of their sizes (a sixteenth on average), and an eighth
/// that is kept for others (kernels/buffer.h).
constexpr double buffer_share = (1 + 1.0 / 16) * (1 + 1.0 / 8);

bool computes_on_gpu(const PlanArgs& args) { return args.run.run.cluster().device() == Cluster::CUDA; }

/// Of each process, whether its workers' rows go to experts of others.
std::vector<bool> senders_of_rows(const PlanArgs& args, const Plan& plan) {
  std::vector<bool> send(static_cast<size_t>(std::max(1, plan.processes)), false);
  const ExpertTraffic traffic(args, plan);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (const int stage : stages_of_rank(plan.schedule, plan.pipeline, rank)) {
      for (int d = 0; d < plan.data; ++d) {
        const int process = plan.process_of_worker[static_cast<size_t>(rank * plan.data + d)];
        if (traffic.bytes(stage, plan.replica_of(d), process) > 0) send[static_cast<size_t>(process)] = true;
      }
    }
  }
  return send;
}

/// Of what a worker keeps, the part of rows that cross between processes in addition.
double crossing_share(const PlanArgs& args) {
  const Model& model = args.model.model;
  if (model.experts() == 0) return 0;
  const int32_t layer = model.layers() - 1;
  return static_cast<double>(crossing_floats(model)) /
         static_cast<double>(saved_floats(model, layer));
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

int moment_bytes_of(const Optimizer& optimizer) {
  return optimizer.moments() == Optimizer::BF16 ? 2 : 4;
}

/// Of one version of a parameter's state, as it is stored and sent.
int stored_bytes(const Optimizer& optimizer) {
  return 4 + 2 * moment_bytes_of(optimizer) + (optimizer.ema_decay() > 0 ? 4 : 0);
}

/// Of `held` parameters, `owned` of them with moments.
MemoryEstimate state_memory(const PlanArgs& args, double held, double owned) {
  const Optimizer& optimizer = args.run.run.train().optimizer();
  MemoryEstimate memory{};
  memory.weight_bytes = bounded(2 * 4 * held);
  memory.moment_bytes = bounded(2 * 2 * moment_bytes_of(optimizer) * owned);
  memory.ema_bytes = optimizer.ema_decay() > 0 ? bounded(2 * 4 * owned) : 0;
  memory.gradient_bytes = bounded(8 * held);
  return memory;
}

/// What a process does with parameters, in numbers of them.
struct Holdings {
  double used = 0;     // it computes with them
  double owned = 0;    // of the used, it has their moments
  double kept = 0;     // copies of another's
  double unused = 0;   // of the copies, it does not compute with them
  double shared = 0;   // gradients of the owned that come from others, once for each of them
  double fetched = 0;  // weights that come from their owners
};

std::vector<Holdings> holdings_of(const PlanArgs& args, const Plan& plan) {
  const auto count = static_cast<size_t>(std::max(1, plan.processes));
  std::vector<Holdings> holdings(count);
  for (const ParameterGroup& group : parameter_groups(args, plan)) {
    const auto users = static_cast<double>(group.users.size());
    const auto parameters = static_cast<double>(group.parameters);
    const double part = parameters / users;
    const auto is_user = [&](size_t process) {
      return std::ranges::find(group.users, static_cast<int>(process)) != group.users.end();
    };
    for (size_t p = 0; p < count; ++p) {
      const auto stride = static_cast<size_t>(plan.buddy_stride);  // see actors/placement/placement.h
      const bool is_buddy = plan.redundancy > 0 && is_user((p + count - stride) % count);
      Holdings& h = holdings[p];
      if (is_buddy) h.kept += part;
      if (is_user(p)) {
        h.used += parameters;
        h.owned += part;
        h.shared += part * (users - 1);
        h.fetched += parameters - part - (is_buddy ? part : 0);
      } else if (is_buddy) {
        h.unused += part;
      }
    }
  }
  return holdings;
}

/// What the backward passes of a rank's worker need, beside what is kept for them: that of its
/// largest layer with the units of its gradients, and of the head.
double scratch_of_rank(const PlanArgs& args, const Plan& plan, int rank) {
  const Model& model = args.model.model;
  const int64_t tokens = largest_step(args.run.run).micro_batch_tokens;
  double bytes = 0, head = 0;
  for (const int s : stages_of_rank(plan.schedule, plan.pipeline, rank)) {
    const StagePlan& stage = plan.stages[static_cast<size_t>(s)];
    const bool is_last = s + 1 == plan.pipeline;
    const int end = stage.first_layer + stage.layers + (is_last && model.mtp_layers() > 0 ? 1 : 0);
    for (int layer = stage.first_layer; layer < end; ++layer) {
      const auto floats = static_cast<double>(backward_floats(model, layer) * tokens);
      // A layer's experts are spread over the data workers that they serve, and so are their units.
      const auto units =
          static_cast<double>(layer_parameters(model, std::min(layer, model.layers() - 1)));
      bytes = std::max(bytes, 4 * (floats + units * plan.expert_replicas / std::max(1, plan.data)));
    }
    if (is_last) head = (1 + model.mtp_layers()) * head_bytes(model, tokens);
  }
  return bytes + head;
}

}  // namespace

double MemoryEstimate::needed() const {
  return static_cast<double>(weight_bytes) + static_cast<double>(moment_bytes) +
         static_cast<double>(ema_bytes) + static_cast<double>(gradient_bytes) +
         static_cast<double>(activation_bytes) + static_cast<double>(scratch_bytes);
}

double MemoryEstimate::total() const {
  return needed() + static_cast<double>(buffer_bytes) + static_cast<double>(arriving_bytes) +
         static_cast<double>(checkpoint_bytes) + static_cast<double>(base_bytes);
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
  const std::vector<Holdings> holdings = holdings_of(args, plan);
  std::vector<double> kept(holdings.size(), 0), passing(holdings.size(), 0);
  Activations activations(args, plan);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (int d = 0; d < plan.data; ++d) {
      const auto process =
          static_cast<size_t>(plan.process_of_worker[static_cast<size_t>(rank * plan.data + d)]);
      kept[process] += activations.of(rank, plan.micro_batches[static_cast<size_t>(d)].size());
      passing[process] += scratch_of_rank(args, plan, rank);
    }
  }
  const int stored = stored_bytes(args.run.run.train().optimizer());
  double all = 0;
  for (const Holdings& h : holdings) all += h.owned;
  const std::vector<bool> sends_rows = senders_of_rows(args, plan);
  std::vector<MemoryEstimate> memory;
  for (size_t p = 0; p < holdings.size(); ++p) {
    const Holdings& h = holdings[p];
    MemoryEstimate& m = memory.emplace_back(state_memory(args, h.used + h.unused, h.owned + h.kept));
    m.activation_bytes = bounded(kept[p]);
    m.scratch_bytes = bounded(passing[p]);
    m.buffer_bytes = bounded((buffer_share - 1) * (kept[p] + passing[p]));
    double arriving = 8 * h.shared + 4 * (h.kept + h.fetched);
    if (plan.redundancy > 0) arriving += 4 * h.owned;  // its own rounded sums, on their way
    if (sends_rows[p]) arriving += crossing_share(args) * kept[p];
    if (p == 0) {
      // A state that is saved is whole there: what others own comes, and all of it is copied.
      arriving += stored * (all - h.owned);
      const double missing = all - h.used - h.unused;
      m.weight_bytes = bounded(static_cast<double>(m.weight_bytes) + 2 * 4 * missing);
      m.moment_bytes = bounded(static_cast<double>(m.moment_bytes) +
                               (stored - 4) * (all - h.owned - h.kept));
      // After the last step it is copied into what activations have left.
      const bool is_last_alone = !args.run.run.checkpoint().has_every() && !computes_on_gpu(args);
      const double free = is_last_alone ? kept[p] + passing[p] : 0;
      m.checkpoint_bytes = bounded(std::max(0.0, stored * all - free));
    }
    m.arriving_bytes = bounded(arriving);
    m.base_bytes = process_base_bytes;
  }
  return memory;
}

namespace {

/// Where a GPU computes, its memory has activations; the host the state, which comes there to be saved or stands there.
double host_bytes(const MemoryEstimate& m, bool is_of_gpu) {
  const double of_gpu = static_cast<double>(m.activation_bytes) + static_cast<double>(m.scratch_bytes) +
                        static_cast<double>(m.buffer_bytes);
  return m.total() - (is_of_gpu ? of_gpu : 0);
}

}  // namespace

void check_memory(const PlanArgs& args, const Plan& plan, int64_t memory_bytes) {
  double needed = 0;
  for (const MemoryEstimate& process : estimate_processes(args, plan)) {
    needed += host_bytes(process, computes_on_gpu(args));
  }
  if (needed <= static_cast<double>(memory_bytes)) return;
  throw ConfigError(describe(
      {args.run.origins.place("model"), "model",
       "one that takes " + size_text(static_cast<int64_t>(std::min(needed, 4e18))) + " to train",
       "at most the " + size_text(memory_bytes) + " of this machine"}));
}

}  // namespace troupe::config
