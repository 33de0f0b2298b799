#include "actors/company.h"

#include <algorithm>
#include <stdexcept>

namespace troupe::actors {

const char* to_string(Role role) {
  switch (role) {
    case Role::coordinator: return "coordinator";
    case Role::journal: return "journal";
    case Role::checkpointer: return "checkpointer";
    case Role::trainer: return "trainer";
    case Role::evaluator: return "evaluator";
    case Role::stage: return "stage";
    case Role::attention_shard: return "attention_shard";
    case Role::router: return "router";
    case Role::expert_shard: return "expert_shard";
    case Role::optimizer_shard: return "optimizer_shard";
  }
  return "?";
}

std::string to_string(const Address& a) {
  return std::string(to_string(a.role)) + "/" + std::to_string(a.stage) + "." +
         std::to_string(a.worker) + "." + std::to_string(a.index);
}

void Directory::put(const Address& address, caf::actor actor) {
  std::lock_guard lock(mutex_);
  actors_[address] = std::move(actor);
}

caf::actor Directory::find(const Address& address) const {
  std::lock_guard lock(mutex_);
  const auto found = actors_.find(address);
  return found == actors_.end() ? caf::actor() : found->second;
}

std::vector<std::pair<Address, caf::actor>> Directory::all() const {
  std::lock_guard lock(mutex_);
  return {actors_.begin(), actors_.end()};
}

std::vector<caf::actor> Directory::of(Role role) const {
  std::vector<caf::actor> found;
  for (const auto& [address, actor] : all()) {
    if (address.role == role) found.push_back(actor);
  }
  return found;
}

void Directory::clear() {
  std::map<Address, caf::actor> dropped;  // handles are released outside the lock
  std::lock_guard lock(mutex_);
  dropped.swap(actors_);
}

Company::Company(const Recipe& r, const config::Plan& p, runtime::StateArena& a,
                 kernels::ThreadPool& threads, BatchSource source)
    : recipe(r), plan(p), arena(a), pool(threads), batches(std::move(source)),
      tensors(arena, recipe),
      mla{&recipe.shape, &rope_,
          kernels::softmax_scale(recipe.shape.query_width(), recipe.shape.yarn)},
      rope_(kernels::rope_table(recipe.sequence_rows, recipe.shape.rope, recipe.shape.rope_theta,
                                recipe.shape.yarn)) {}

kernels::Queue& Company::new_lane() {
  std::lock_guard lock(mutex_);
  return lanes_.emplace_back(pool);
}

void Company::drain() {
  std::lock_guard lock(mutex_);
  const auto reason = std::make_exception_ptr(std::runtime_error("the run has ended"));
  for (kernels::Queue& lane : lanes_) lane.cancel(reason);
}

int Company::stage_of(int64_t layer) const {
  for (int stage = 0; stage < last_stage(); ++stage) {
    const auto& part = plan.stages[static_cast<size_t>(stage)];
    if (layer < part.first_layer + part.layers) return stage;
  }
  return last_stage();
}

std::vector<int64_t> Company::moe_layers(int stage) const {
  std::vector<int64_t> layers;
  const kernels::ModelShape& s = recipe.shape;
  for (int64_t layer = s.dense_layers; layer < s.layers + s.mtp_layers; ++layer) {
    if (stage_of(layer) == stage) layers.push_back(layer);
  }
  return layers;
}

std::vector<int> Company::expert_owners() const {
  std::vector<int> owner(static_cast<size_t>(recipe.shape.experts), 0);
  for (size_t shard = 0; shard < plan.experts.size(); ++shard) {
    const auto& range = plan.experts[shard];
    std::fill_n(owner.begin() + range.first, range.count, static_cast<int>(shard));
  }
  return owner;
}

int Company::worker_of(int micro_batch) const {
  for (size_t worker = 0; worker < plan.micro_batches.size(); ++worker) {
    const auto& taken = plan.micro_batches[worker];
    if (std::find(taken.begin(), taken.end(), micro_batch) != taken.end()) {
      return static_cast<int>(worker);
    }
  }
  return 0;
}

int64_t Company::sequence_rows(int64_t layer) const {
  const int64_t module = layer - recipe.shape.layers;
  return module < 0 ? recipe.sequence_rows : recipe.sequence_rows - 1 - module;
}

}  // namespace troupe::actors
