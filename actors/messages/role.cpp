#include "actors/messages/role.h"

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
    case Role::crew: return "crew";
  }
  return "?";
}

std::optional<Role> role_of(std::string_view name) {
  for (int i = 0; i < roles; ++i) {
    if (name == to_string(static_cast<Role>(i))) return static_cast<Role>(i);
  }
  return std::nullopt;
}

std::string to_string(const Address& a) {
  return std::string(to_string(a.role)) + "/" + std::to_string(a.stage) + "." +
         std::to_string(a.worker) + "." + std::to_string(a.index);
}

}  // namespace troupe::actors
