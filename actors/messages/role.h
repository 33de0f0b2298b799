// Who an actor is.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::actors {

enum class Role : uint8_t {
  coordinator, journal, checkpointer, trainer, evaluator, stage, attention_shard, router,
  expert_shard, optimizer_shard, crew
};
inline constexpr int roles = 11;
const char* to_string(Role role);
/// Whether it computes forward and backward.
inline bool is_of_model(Role role) {
  return role == Role::stage || role == Role::attention_shard || role == Role::router ||
         role == Role::expert_shard;
}
/// No value if no role is called so.
std::optional<Role> role_of(std::string_view name);

/// Names an actor. `stage` is the rank of the pipeline, of an expert shard its stage; `worker` is the
/// data worker, `index` a shard, a router's layer, or a crew's process.
struct Address {
  Role role;
  int stage = 0;
  int worker = 0;
  int index = 0;
  auto operator<=>(const Address&) const = default;
};
/// "expert_shard/0.0.1": role, stage, worker, index.
std::string to_string(const Address& address);

}  // namespace troupe::actors
