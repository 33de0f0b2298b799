#include "actors/company.h"

#include <algorithm>
#include <stdexcept>

#include "config/schedule/dealing.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::actors {

namespace {

std::map<Address, int> indices_of(const std::vector<Address>& cast) {
  std::map<Address, int> indices;
  std::map<Role, int> counts;
  for (const Address& address : cast) indices[address] = counts[address.role]++;
  return indices;
}

/// Whether units of one tensor may come from several lanes of a process at a time.
bool has_several_lanes(const config::Plan& plan, const Placement& placement, int process) {
  int stages = 0;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (int worker = 0; worker < plan.data; ++worker) {
      stages += placement.process_of({Role::stage, rank, worker}) == process;
    }
  }
  std::map<std::pair<int, int>, int> replicas;  // of a stage's expert shard
  for (size_t i = 0; i < plan.process_of_expert_shard.size(); ++i) {
    const int number = static_cast<int>(i), stage = number / (plan.expert * plan.expert_replicas);
    if (plan.process_of_expert_shard[i] == process) ++replicas[{stage, number % plan.expert}];
  }
  const bool has_twins = std::ranges::any_of(replicas, [](const auto& one) { return one.second > 1; });
  return stages > 1 || plan.attention > 1 || has_twins;
}

/// MoE layers of a stage, MTP's behind the last stage's own.
std::vector<int64_t> moe_layers_of(const config::Plan& plan, const kernels::ModelShape& s,
                                   int stage) {
  const auto& part = plan.stages[static_cast<size_t>(stage)];
  const bool is_last = stage + 1 == plan.pipeline;
  const int64_t end = is_last ? s.layers + s.mtp_layers : part.first_layer + part.layers;
  std::vector<int64_t> layers;
  for (int64_t layer = std::max<int64_t>(part.first_layer, s.dense_layers); layer < end; ++layer) {
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace

std::vector<Address> cast_of(const config::Plan& plan, const kernels::ModelShape& shape) {
  std::vector<Address> cast;
  for (int shard = 0; shard < plan.optimizer_shards; ++shard) {
    cast.push_back({Role::optimizer_shard, 0, 0, shard});
  }
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    std::vector<int64_t> moe_layers;
    for (const int stage : config::stages_of_rank(plan.schedule, plan.pipeline, rank)) {
      const auto of_stage = moe_layers_of(plan, shape, stage);
      moe_layers.insert(moe_layers.end(), of_stage.begin(), of_stage.end());
      if (config::expert_rank_of(plan, stage) != rank || of_stage.empty()) continue;
      for (int i = 0; i < plan.expert_replicas * plan.expert; ++i) {
        cast.push_back({Role::expert_shard, stage, i / plan.expert, i % plan.expert});
      }
    }
    for (int worker = 0; worker < plan.data; ++worker) {
      for (int shard = 0; shard < plan.attention; ++shard) {
        cast.push_back({Role::attention_shard, rank, worker, shard});
      }
      for (const int64_t layer : moe_layers) {
        cast.push_back({Role::router, rank, worker, static_cast<int>(layer)});
      }
      cast.push_back({Role::stage, rank, worker});
    }
  }
  for (int process = 0; process < std::max(1, plan.processes); ++process) {
    cast.push_back({Role::crew, 0, 0, process});
  }
  cast.push_back({Role::trainer});
  cast.push_back({Role::coordinator});
  return cast;
}

Company::Company(const Recipe& r, const config::Plan& p, runtime::StateArena& a,
                 kernels::ThreadPool& threads, BatchSource source, int number,
                 kernels::Device where)
    : recipe(r), plan(p), process(number), device(where), arena(a), pool(threads),
      batches(std::move(source)), placement(plan, recipe.shape, arena),
      tensors(arena, recipe, device, has_several_lanes(plan, placement, process)), timeline(recipe),
      office(directory, placement, process, device),
      contexts_(recipe, timeline, device),
      indices_(indices_of(cast_of(plan, recipe.shape))) {
  if (recipe.arithmetic == kernels::Arithmetic::sm_90a && device != kernels::Device::cuda) {
    throw kernels::KernelError("a run of arithmetic " + std::string(name_of(recipe.arithmetic)) +
                               " on the CPU, wanted the GPU (--device cuda)");
  }
}

kernels::Queue& Company::lane(const Address& address) {
  std::lock_guard lock(mutex_);
  const bool is_of_state = address.role == Role::optimizer_shard && !keeps_state_on_host();
  const kernels::Device where = is_of_model(address.role) || is_of_state ? device : kernels::Device::cpu;
  const bool is_of_gpu = where == kernels::Device::cuda && is_of_model(address.role);
  const kernels::Arithmetic its = is_of_gpu ? recipe.arithmetic : kernels::Arithmetic::cpu;
  return lanes_.try_emplace(address, pool, where, its).first->second;
}

/// Where its memory is verified, by the CPU; and with others where the way between them knows the host's memory
/// alone.
bool Company::keeps_state_on_host() const {
  return verifies_state || (has_others() && !office.carries_gpu_memory());
}

void Company::record_units() {
  std::vector<std::string> names;
  for (int tensor = 0; tensor < arena.tensors(); ++tensor) names.push_back(arena.spec(tensor).name);
  units = std::make_unique<runtime::UnitRecorder>(std::move(names));
}

int Company::index_of(const Address& address) const {
  const auto found = indices_.find(address);
  return found == indices_.end() ? 0 : found->second;
}

void Company::write_trace() {
  const std::string problem = trace ? trace->write() : "";
  if (problem.empty()) return;
  wire::Event event;
  event.set_kind(wire::Event::ALARM);
  event.set_text(problem);
  event.set_unix_us(runtime::unix_us());
  happened(std::move(event));
}

/// A run may end before the last step that was to be traced.
void Company::drain() {
  write_trace();
  std::lock_guard lock(mutex_);
  const auto reason = std::make_exception_ptr(std::runtime_error("the run has ended"));
  for (auto& [address, lane] : lanes_) lane.cancel(reason);
  lanes_.clear();
}

int Company::stage_of(int64_t layer) const {
  for (int stage = 0; stage < last_stage(); ++stage) {
    const auto& part = plan.stages[static_cast<size_t>(stage)];
    if (layer < part.first_layer + part.layers) return stage;
  }
  return last_stage();
}

std::vector<int64_t> Company::moe_layers(int stage) const {
  return moe_layers_of(plan, recipe.shape, stage);
}

ExpertHolders Company::expert_holders(int stage, int replica) const {
  ExpertHolders holders;
  holders.shards = static_cast<int>(plan.experts.size());
  holders.owner.assign(static_cast<size_t>(recipe.shape.experts), 0);
  std::map<int, std::vector<int>> others;  // shards by process
  for (int shard = 0; shard < holders.shards; ++shard) {
    const auto& range = plan.experts[static_cast<size_t>(shard)];
    std::fill_n(holders.owner.begin() + range.first, range.count, shard);
    const int at = placement.process_of({Role::expert_shard, stage, replica, shard});
    if (at != process) others[at].push_back(shard);
  }
  for (auto& [at, shards] : others) holders.hosts.push_back(std::move(shards));
  return holders;
}

std::vector<std::vector<int>> Company::hands(std::span<const int> shares, int64_t micro_batches) const {
  if (!shares.empty()) return config::deal(shares);
  std::vector<std::vector<int>> hands = plan.micro_batches;
  for (std::vector<int>& hand : hands) {
    hand.erase(std::ranges::lower_bound(hand, micro_batches), hand.end());
  }
  return hands;
}

uint32_t Company::sender_of(const Address& address) const {
  return static_cast<uint32_t>(address.stage * plan.data + address.worker);
}

Address Company::place_of_sender(Role role, uint32_t sender, int index) const {
  const int number = static_cast<int>(sender);
  return {role, number / plan.data, number % plan.data, index};
}

int64_t Company::sequence_rows(int64_t layer, const StepNumbers& step) const {
  const int64_t module = layer - recipe.shape.layers;
  return module < 0 ? step.sequence_rows : step.sequence_rows - 1 - module;
}

}  // namespace troupe::actors
