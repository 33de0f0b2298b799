// Where the experts of a layer go when some are asked more than others: which are held twice or
// more, and which device holds what.
#pragma once

#include <span>
#include <vector>

namespace troupe::config {

struct BalanceArgs {
  std::span<const double> loads;  ///< of each expert of one layer: rows, or an estimate of them
  int replicas;  ///< of all experts together: a multiple of `devices`, at least one an expert
  int groups;    ///< the experts form equal groups; a token uses few of them
  int nodes;
  int devices;  ///< of all nodes, the same number on each
};

struct ExpertPlacement {
  /// The expert of each slot. A device has replicas / devices neighbouring slots, a node
  /// replicas / nodes.
  std::vector<int> expert_of_slot;
  std::vector<int> replicas_of_expert;  ///< at least 1 each
};

/// Balances the load of devices, a replica taking an equal share of its expert's load.
///
/// Hierarchical where `nodes` divides `groups`, so that a group stays on one node: groups are
/// packed onto nodes, experts replicated inside each node (always the one with most load a
/// replica), and replicas packed onto the node's devices. Else global: as one group on one node.
/// Packing gives each item, heaviest first, to the lightest pack that has room. Ties go to the
/// lower index. Throws ConfigError, naming the number, if something does not divide. Source:
/// DeepSeek's EPLB (expert-parallel load balancer), github.com/deepseek-ai/EPLB.
ExpertPlacement balance_experts(const BalanceArgs& args);

/// The load of each device under a placement.
std::vector<double> device_loads(const BalanceArgs& args, const ExpertPlacement& placement);

}  // namespace troupe::config
