#include "runtime/state/hash.h"

#include <xxhash.h>

#include <memory>

namespace troupe::runtime {
namespace {

class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }
  void bytes(const void* data, size_t n) { XXH3_64bits_update(state_.get(), data, n); }
  void number(uint64_t x) { bytes(&x, sizeof x); }
  void text(std::string_view s) {
    bytes(s.data(), s.size());
    bytes("", 1);
  }
  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* s) const { XXH3_freeState(s); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

void add(Hasher& hasher, const kernels::Tensor& t) {
  hasher.bytes(t.data, static_cast<size_t>(t.count() * kernels::size_of(t.dtype)));
}

}  // namespace

uint64_t block_hash(StateArena& arena, int64_t id, uint64_t state) {
  Hasher hasher;
  for (const kernels::Tensor& part : arena.block(id, state).parts()) add(hasher, part);
  return hasher.digest();
}

uint64_t weight_hash(StateArena& arena, int64_t id, uint64_t state) {
  Hasher hasher;
  add(hasher, arena.block(id, state).weight);
  return hasher.digest();
}

uint64_t state_hash(const StateArena& arena, const StateHashArgs& args) {
  if (args.block_hashes.size() != arena.blocks().size()) {
    throw StateError("a hash from " + std::to_string(args.block_hashes.size()) +
                     " blocks, wanted " + std::to_string(arena.blocks().size()));
  }
  Hasher hasher;
  hasher.text(args.arithmetic);
  hasher.number(args.consumed_tokens);
  hasher.bytes(args.routing_bias.data(), args.routing_bias.size_bytes());
  for (size_t id = 0; id < args.block_hashes.size(); ++id) {
    const Block& block = arena.blocks()[id];
    hasher.text(arena.spec(block.tensor).name);
    hasher.number(static_cast<uint64_t>(block.index));
    hasher.number(args.block_hashes[id]);
  }
  return hasher.digest();
}

std::string to_hex(uint64_t hash) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, hash >>= 4) text[static_cast<size_t>(i)] = "0123456789abcdef"[hash & 15];
  return text;
}

}  // namespace troupe::runtime
