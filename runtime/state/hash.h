// The hash of a run's state: two runs are the same run exactly if their hashes are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "runtime/state/arena.h"

namespace troupe::runtime {

/// xxh3 of a block's parts as they are stored, little-endian: weight (f32), first and second moments
/// (f32 or bf16), and the EMA of the weight (f32) if the state has one.
uint64_t block_hash(StateArena& arena, int64_t id, uint64_t state);

/// xxh3 of a block's weight alone.
uint64_t weight_hash(StateArena& arena, int64_t id, uint64_t state);

struct StateHashArgs {
  std::string_view arithmetic;               ///< kernels::name_of
  uint64_t consumed_tokens;
  std::span<const float> routing_bias;       ///< [MoE layers * E], layer by layer
  std::span<const uint64_t> block_hashes;    ///< in id order
};

/// xxh3 of: arithmetic and a zero byte; consumed tokens (u64); the bias (f32 each); then for every
/// block in id order the tensor's name and a zero byte, its index (u64) and its hash (u64); all
/// little-endian.
uint64_t state_hash(const StateArena& arena, const StateHashArgs& args);

/// 16 hexadecimal digits.
std::string to_hex(uint64_t hash);

}  // namespace troupe::runtime
