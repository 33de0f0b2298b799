#include "actors/train/shard_group.h"

#include <algorithm>
#include <map>

namespace troupe::actors {

using kernels::Tensor;
using runtime::GroupPart;

namespace {

using Members = std::vector<int>;
using ByRoot = std::map<int, std::vector<int64_t>>;

std::vector<CircleBlocks> of_process(const std::map<Members, ByRoot>& shared, const std::vector<Members>& circles,
                                     int process) {
  std::vector<CircleBlocks> out;
  for (size_t i = 0; i < circles.size(); ++i) {
    const auto found = shared.find(circles[i]);
    if (found == shared.end() || std::ranges::find(circles[i], process) == circles[i].end()) continue;
    out.push_back({static_cast<int>(i), {found->second.begin(), found->second.end()}});
  }
  return out;
}

}  // namespace

GroupShares shares_of_group(const Placement& placement, const std::vector<runtime::Block>& blocks, int shard) {
  const int processes = placement.processes(), number = shard / processes;
  std::map<Members, ByRoot> sums, weights;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto id = static_cast<int64_t>(i);
    const int owner = placement.owner(id);
    const Members& users = placement.users(blocks[i].tensor);
    if (owner / processes != number || users.size() < 2) continue;
    const int root = placement.process_of_shard(owner);
    sums[users][root].push_back(id);
    Members get = users;
    if (const int buddy = placement.buddy(owner); buddy >= 0) std::erase(get, placement.process_of_shard(buddy));
    if (get.size() > 1) weights[get][root].push_back(id);
  }
  GroupShares out;
  for (const auto* shared : {&sums, &weights}) {
    for (const auto& [members, by_root] : *shared) out.circles.push_back(members);
  }
  std::ranges::sort(out.circles);
  out.circles.erase(std::unique(out.circles.begin(), out.circles.end()), out.circles.end());
  const int process = placement.process_of_shard(shard);
  out.sums = of_process(sums, out.circles, process);
  out.weights = of_process(weights, out.circles, process);
  return out;
}

ShardGroup::ShardGroup(Company& company, ShardMemory& memory, kernels::Queue& queue, int index)
    : company_(company), memory_(memory), queue_(queue), number_(index / company.placement.processes()),
      shares_(shares_of_group(company.placement, company.arena.blocks(), index)) {}

bool ShardGroup::begin(const wire::BeginStep& step) {
  if (step.groups_size() <= number_) {
    leave();
    return true;
  }
  const std::string& id = step.groups(number_);
  if (group_ && id == id_) return true;
  leave();
  if (step.groups_since() != step.step() || !company_.groups.make) return false;
  id_ = id;
  group_ = company_.groups.make({.id = id, .rank = company_.process, .ranks = company_.placement.processes(),
                                 .circles = shares_.circles, .deadline = deadline()});
  return true;
}

void ShardGroup::leave() {
  if (!group_) return;
  // In the lane: what the group writes ends before what comes next there.
  queue_.run(1, [group = std::make_shared<std::shared_ptr<runtime::DeviceGroup>>(std::exchange(group_, nullptr))](
                    int64_t) { group->reset(); });
}

void ShardGroup::sends(const Tensor& tensor, size_t times) const {
  company_.group_bytes += times * static_cast<size_t>(tensor.count() * kernels::size_of(tensor.dtype));
}

/// What was to be done together may come to its turn when a commit told again has ended that.
bool ShardGroup::is_left(const Done& done) const {
  if (!group_) done("the group was left");
  return !group_;
}

ShardGroup::Parts ShardGroup::sums() {
  Parts parts;
  for (const CircleBlocks& shared : shares_.sums) {
    std::vector<GroupPart>& of = parts.emplace_back();
    for (const auto& [root, blocks] : shared.by_root) {
      for (const Tensor& sums : memory_.gradients_of_ranges(blocks)) {
        of.push_back({sums, root});
        if (root != company_.process) sends(sums, 1);
      }
    }
  }
  return parts;
}

void ShardGroup::sum(const Parts& sums, Done done) {
  if (is_left(done)) return;
  if (sums.empty()) return done({});
  for (size_t i = 0; i < sums.size(); ++i) {
    group_->sum(shares_.sums[i].circle, sums[i], deadline(), answer_of(done, i, sums.size()));
  }
}

void ShardGroup::give_copies(int buddy, const Tensor& own, int ward, const Tensor& come, Done done) {
  if (is_left(done)) return;
  sends(own, 1);
  group_->exchange({{own, process_of(buddy)}}, {{come, process_of(ward)}}, deadline(), std::move(done));
}

ShardGroup::Weights ShardGroup::weights(uint64_t state) {
  Weights out;
  for (const CircleBlocks& shared : shares_.weights) {
    std::vector<GroupPart>& of = out.parts.emplace_back();
    const size_t others = shares_.circles[static_cast<size_t>(shared.circle)].size() - 1;
    for (const auto& [root, blocks] : shared.by_root) {
      const bool is_own = root == company_.process;
      for (const Tensor& weights : memory_.weights_of_ranges(blocks, state, is_own)) {
        of.push_back({weights, root});
        if (is_own) sends(weights, others);
      }
      if (!is_own) out.come.insert(out.come.end(), blocks.begin(), blocks.end());
    }
  }
  std::ranges::sort(out.come);
  return out;
}

void ShardGroup::hand_out(const Weights& weights, Done done) {
  if (is_left(done)) return;
  if (weights.parts.empty()) return done({});
  for (size_t i = 0; i < weights.parts.size(); ++i) {
    group_->hand_out(shares_.weights[i].circle, weights.parts[i], deadline(),
                     answer_of(done, i, weights.parts.size()));
  }
}

}  // namespace troupe::actors
