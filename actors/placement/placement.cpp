#include "actors/placement/placement.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

namespace troupe::actors {
namespace {

/// The number behind `word` in a tensor's name, as 3 behind "layers." in "model.layers.3.mlp".
std::optional<int64_t> number_behind(std::string_view name, std::string_view word) {
  const size_t at = name.find(word);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(at + word.size());
  int64_t number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

void add(std::vector<int>& into, const std::vector<int>& more) {
  into.insert(into.end(), more.begin(), more.end());
  std::sort(into.begin(), into.end());
  into.erase(std::unique(into.begin(), into.end()), into.end());
}

}  // namespace

std::vector<int> deal_blocks(int64_t count, int hands) {
  std::vector<int> hand_of(static_cast<size_t>(count), 0);
  std::vector<std::vector<size_t>> held(1);
  for (size_t i = 0; i < hand_of.size(); ++i) held[0].push_back(i);
  for (int next = 1; next < hands; ++next) {
    std::vector<size_t> gets;
    while (static_cast<int64_t>(gets.size()) < count / (next + 1)) {
      auto& richest = *std::max_element(held.begin(), held.end(), [](const auto& a, const auto& b) {
        return a.size() < b.size();
      });
      gets.push_back(richest.back());
      richest.pop_back();
    }
    for (const size_t i : gets) hand_of[i] = next;
    held.push_back(std::move(gets));
  }
  return hand_of;
}

Placement::Placement(const config::Plan& plan, const kernels::ModelShape& shape,
                     const runtime::StateArena& arena)
    : plan_(plan), shape_(shape), processes_(std::max(1, plan.processes)),
      redundancy_(processes_ > 1 ? plan.redundancy : 0), stride_(plan.buddy_stride) {
  for (int t = 0; t < arena.tensors(); ++t) users_.push_back(users_of(arena.spec(t).name));
  deal(arena);
  std::map<std::pair<int, int>, std::vector<int64_t>> shared;
  for (size_t id = 0; id < owners_.size(); ++id) {
    const int owner = owners_[id];
    for (const int process : users(arena.blocks()[id].tensor)) {
      if (process == process_of_shard(owner)) continue;
      shared[{counterpart(owner, process), owner}].push_back(static_cast<int64_t>(id));
    }
  }
  for (auto& [pair, blocks] : shared) edges_.push_back({pair.first, pair.second, std::move(blocks)});
}

/// Blocks that the same processes use are dealt to these, and each deals its own in turn to its shards.
void Placement::deal(const runtime::StateArena& arena) {
  std::map<std::vector<int>, std::vector<size_t>> shared;
  for (size_t id = 0; id < arena.blocks().size(); ++id) {
    tensors_.push_back(arena.blocks()[id].tensor);
    shared[users(tensors_.back())].push_back(id);
  }
  const int shards_each = std::max(1, plan_.optimizer_shards / processes_);
  owners_.resize(tensors_.size());
  for (const auto& [users, ids] : shared) {
    const auto hands = deal_blocks(static_cast<int64_t>(ids.size()), static_cast<int>(users.size()));
    std::vector<int> turns(users.size(), 0);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto hand = static_cast<size_t>(hands[i]);
      owners_[ids[i]] = turns[hand]++ % shards_each * processes_ + users[hand];
    }
  }
}

std::vector<BlockEdge> Placement::edges_to_first() const {
  std::map<int, std::vector<int64_t>> by_owner;
  for (size_t id = 0; id < owners_.size(); ++id) {
    if (process_of_shard(owners_[id]) != 0) by_owner[owners_[id]].push_back(static_cast<int64_t>(id));
  }
  std::vector<BlockEdge> edges;
  for (auto& [owner, blocks] : by_owner) edges.push_back({counterpart(owner, 0), owner, std::move(blocks)});
  return edges;
}

std::vector<RestoreEdge> Placement::edges_to_restore(int process) const {
  std::map<std::pair<int, int>, RestoreEdge> edges;
  for (size_t id = 0; id < owners_.size(); ++id) {
    const int owner = owners_[id];
    const auto block = static_cast<int64_t>(id);
    const int second = buddy(owner);
    if (process_of_shard(owner) == process) {
      if (second >= 0) edges[{second, owner}].whole.push_back(block);
    } else if (second >= 0 && process_of_shard(second) == process) {
      edges[{owner, second}].whole.push_back(block);
    } else if (uses(process, tensors_[id])) {
      edges[{owner, counterpart(owner, process)}].weights.push_back(block);
    }
  }
  std::vector<RestoreEdge> out;
  for (auto& [pair, edge] : edges) {
    edge.from = pair.first;
    edge.to = pair.second;
    out.push_back(std::move(edge));
  }
  return out;
}

int Placement::process_of(const Address& address) const {
  const auto process = [](const std::vector<int>& of, int at) {
    return static_cast<size_t>(at) < of.size() ? of[static_cast<size_t>(at)] : 0;
  };
  switch (address.role) {
    case Role::stage:
    case Role::attention_shard:
    case Role::router:
      return process(plan_.process_of_worker, address.stage * plan_.data + address.worker);
    case Role::expert_shard:
      return process(plan_.process_of_expert_shard,
                     (address.stage * plan_.expert_replicas + address.worker) * plan_.expert + address.index);
    case Role::optimizer_shard: return process_of_shard(address.index);
    case Role::crew: return address.index;
    default: return 0;
  }
}

int Placement::stage_of(int64_t layer) const {
  for (int stage = 0; stage + 1 < plan_.pipeline; ++stage) {
    const auto& part = plan_.stages[static_cast<size_t>(stage)];
    if (layer < part.first_layer + part.layers) return stage;
  }
  return plan_.pipeline - 1;
}

std::vector<int> Placement::processes_of_stage(int stage) const {
  std::vector<int> found;
  for (int rank = 0; rank < plan_.ranks(); ++rank) {
    const auto held = config::stages_of_rank(plan_.schedule, plan_.pipeline, rank);
    if (std::find(held.begin(), held.end(), stage) == held.end()) continue;
    for (int worker = 0; worker < plan_.data; ++worker) {
      add(found, {process_of({Role::stage, rank, worker})});
    }
  }
  return found;
}

std::vector<int> Placement::users_of(const std::string& name) const {
  const auto layer = number_behind(name, "layers.");
  if (!layer) {
    const bool is_embedding = name.find("embed_tokens") != std::string::npos;
    std::vector<int> found = processes_of_stage(is_embedding ? 0 : plan_.pipeline - 1);
    if (is_embedding && shape_.mtp_layers > 0) add(found, processes_of_stage(plan_.pipeline - 1));
    return found;
  }
  const int stage = stage_of(*layer);
  const auto expert = number_behind(name, "experts.");
  if (!expert || name.find("shared_experts.") != std::string::npos) return processes_of_stage(stage);
  for (size_t shard = 0; shard < plan_.experts.size(); ++shard) {
    const auto& range = plan_.experts[shard];
    if (*expert < range.first || *expert >= range.first + range.count) continue;
    std::vector<int> found;
    for (int replica = 0; replica < plan_.expert_replicas; ++replica) {
      add(found, {process_of({Role::expert_shard, stage, replica, static_cast<int>(shard)})});
    }
    return found;
  }
  return {0};
}

bool Placement::uses(int process, int tensor) const {
  const auto& all = users(tensor);
  return std::binary_search(all.begin(), all.end(), process);
}

bool Placement::holds(int process, int tensor) const {
  if (uses(process, tensor)) return true;
  for (size_t id = 0; id < owners_.size() && redundancy_ > 0; ++id) {
    if (tensors_[id] == tensor && process_of_shard(buddy(owners_[id])) == process) return true;
  }
  return false;
}

Share Placement::share(int process, int64_t block) const {
  const int owning = owner(block);
  const int second = buddy(owning);
  const bool is_whole = process_of_shard(owning) == process ||
                        (second >= 0 && process_of_shard(second) == process);
  if (is_whole) return Share::whole;
  return uses(process, tensors_[static_cast<size_t>(block)]) ? Share::weights : Share::none;
}

runtime::BlockUse Placement::use(int process, int64_t block) const {
  const Share mine = share(process, block);
  return {.weights = mine != Share::none,
          .moments = mine == Share::whole,
          .gradient = uses(process, tensors_[static_cast<size_t>(block)])};
}

std::vector<int64_t> Placement::owned_by(int optimizer_shard) const {
  std::vector<int64_t> blocks;
  for (size_t id = 0; id < owners_.size(); ++id) {
    if (owners_[id] == optimizer_shard) blocks.push_back(static_cast<int64_t>(id));
  }
  return blocks;
}

void expect_part(const config::Plan& plan, const kernels::ModelShape& shape, int process,
                 kernels::Device device, runtime::StateArena& arena) {
  if (device != kernels::Device::cpu) return;
  const Placement placement(plan, shape, arena);
  arena.expect([&](int64_t block) { return placement.use(process, block); });
}

bool have_lost_all_copies(const std::set<int>& empty, int processes, int stride) {
  for (const int process : empty) {
    if (empty.contains((process + stride) % processes)) return true;
  }
  return false;
}

}  // namespace troupe::actors
