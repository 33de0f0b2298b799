#include "config/plan/expert_balancer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "config/text/errors.h"

namespace troupe::config {
namespace {

void require(bool holds, const char* name, int found, const std::string& wanted) {
  if (!holds) throw ConfigError(describe({"", name, std::to_string(found), wanted}));
}

void check(const BalanceArgs& args) {
  const auto experts = static_cast<int>(args.loads.size());
  require(experts >= 1, "experts", experts, "at least 1");
  require(args.groups >= 1 && experts % args.groups == 0, "groups", args.groups,
          fmt::format("a divisor of {} experts", experts));
  require(args.nodes >= 1, "nodes", args.nodes, "at least 1");
  require(args.devices >= 1 && args.devices % args.nodes == 0, "devices", args.devices,
          fmt::format("a multiple of {} nodes", args.nodes));
  require(args.replicas >= experts && args.replicas % args.devices == 0, "replicas", args.replicas,
          fmt::format("at least {} experts, and a multiple of {} devices", experts, args.devices));
}

/// Items of equal number in each pack: items[pack][i], in the order they were given.
std::vector<std::vector<int>> pack(const std::vector<double>& loads, int packs) {
  const size_t room = loads.size() / static_cast<size_t>(packs);
  std::vector<std::vector<int>> items(static_cast<size_t>(packs));
  std::vector<int> order(loads.size());
  std::iota(order.begin(), order.end(), 0);
  if (room == 1) {  // nothing to balance: everything stays where it is
    for (int item : order) items[static_cast<size_t>(item)] = {item};
    return items;
  }
  std::ranges::stable_sort(order, [&](int a, int b) {
    return loads[static_cast<size_t>(a)] > loads[static_cast<size_t>(b)];
  });
  std::vector<double> sums(items.size(), 0);
  for (int item : order) {
    size_t lightest = items.size();
    for (size_t p = 0; p < items.size(); ++p) {
      if (items[p].size() == room) continue;
      if (lightest == items.size() || sums[p] < sums[lightest]) lightest = p;
    }
    items[lightest].push_back(item);
    sums[lightest] += loads[static_cast<size_t>(item)];
  }
  return items;
}

/// The expert of each replica: first each once, then what is added.
std::vector<int> replicate(const std::vector<double>& loads, int replicas) {
  std::vector<int> expert_of(loads.size());
  std::iota(expert_of.begin(), expert_of.end(), 0);
  std::vector<int> counts(loads.size(), 1);
  while (expert_of.size() < static_cast<size_t>(replicas)) {
    size_t heaviest = 0;
    for (size_t e = 1; e < loads.size(); ++e) {
      if (loads[e] / counts[e] > loads[heaviest] / counts[heaviest]) heaviest = e;
    }
    expert_of.push_back(static_cast<int>(heaviest));
    ++counts[heaviest];
  }
  return expert_of;
}

/// The experts (numbered as in `loads`) of one node's slots.
std::vector<int> fill_node(const std::vector<double>& loads, int replicas, int devices) {
  const std::vector<int> expert_of = replicate(loads, replicas);
  std::vector<double> shares;
  for (int e : expert_of) {
    shares.push_back(loads[static_cast<size_t>(e)] /
                     static_cast<double>(std::ranges::count(expert_of, e)));
  }
  std::vector<int> slots;
  for (const auto& device : pack(shares, devices)) {
    for (int replica : device) slots.push_back(expert_of[static_cast<size_t>(replica)]);
  }
  return slots;
}

}  // namespace

ExpertPlacement balance_experts(const BalanceArgs& args) {
  check(args);
  const bool is_hierarchical = args.groups % args.nodes == 0;
  const int groups = is_hierarchical ? args.groups : 1;
  const int nodes = is_hierarchical ? args.nodes : 1;
  const size_t group_size = args.loads.size() / static_cast<size_t>(groups);
  std::vector<double> group_loads(static_cast<size_t>(groups), 0);
  for (size_t e = 0; e < args.loads.size(); ++e) group_loads[e / group_size] += args.loads[e];
  ExpertPlacement placement{{}, std::vector<int>(args.loads.size(), 0)};
  for (const auto& node : pack(group_loads, nodes)) {
    std::vector<int> experts;
    std::vector<double> loads;
    for (int group : node) {
      for (size_t i = 0; i < group_size; ++i) {
        experts.push_back(static_cast<int>(static_cast<size_t>(group) * group_size + i));
        loads.push_back(args.loads[static_cast<size_t>(experts.back())]);
      }
    }
    for (int slot : fill_node(loads, args.replicas / nodes, args.devices / nodes)) {
      const int expert = experts[static_cast<size_t>(slot)];
      placement.expert_of_slot.push_back(expert);
      ++placement.replicas_of_expert[static_cast<size_t>(expert)];
    }
  }
  return placement;
}

std::vector<double> device_loads(const BalanceArgs& args, const ExpertPlacement& placement) {
  std::vector<double> loads(static_cast<size_t>(args.devices), 0);
  const size_t slots = placement.expert_of_slot.size() / loads.size();
  for (size_t slot = 0; slot < placement.expert_of_slot.size(); ++slot) {
    const auto expert = static_cast<size_t>(placement.expert_of_slot[slot]);
    loads[slot / slots] += args.loads[expert] / placement.replicas_of_expert[expert];
  }
  return loads;
}

}  // namespace troupe::config
