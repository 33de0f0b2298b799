#include "runtime/state/hash.h"

#include <gtest/gtest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

namespace troupe::tests {
namespace {

using kernels::Initial;
using runtime::StateArena;

/// Three blocks in two tensors, listed against the order of their names.
StateArena ramp() {
  return StateArena({{"w", {70'000}, Initial::ones}, {"v", {2, 3}, Initial::normal}});
}

void fill(StateArena& arena) {
  for (size_t id = 0; id < arena.blocks().size(); ++id) {
    const auto block = arena.block(static_cast<int64_t>(id), 0);
    const kernels::Tensor* parts[] = {&block.weight, &block.moment1, &block.moment2};
    for (int part = 0; part < 3; ++part) {
      for (int64_t i = 0; i < parts[part]->count(); ++i) {
        kernels::values<float>(*parts[part])[i] =
            static_cast<float>(i % 1000) * 0.5f + static_cast<float>(part);
      }
    }
  }
}

/// Everything that a state's hash is taken of.
struct State {
  StateArena arena = ramp();
  std::string arithmetic = "cpu.1";
  uint64_t tokens = 4096;
  std::vector<float> bias{0.001f, -0.002f};

  State() { fill(arena); }
  std::vector<uint64_t> blocks() {
    std::vector<uint64_t> out;
    for (size_t id = 0; id < arena.blocks().size(); ++id) {
      out.push_back(runtime::block_hash(arena, static_cast<int64_t>(id), 0));
    }
    return out;
  }
  uint64_t hash() {
    const auto hashes = blocks();
    return runtime::state_hash(arena, {arithmetic, tokens, bias, hashes});
  }
};

template <class T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

TEST(StateHash, IsXxh3OfTheDocumentedBytes) {
  State state;
  std::string block;
  for (const kernels::Tensor& t : {state.arena.block(0, 0).weight, state.arena.block(0, 0).moment1,
                                   state.arena.block(0, 0).moment2}) {
    for (int64_t i = 0; i < 6; ++i) append(block, kernels::values<float>(t)[i]);
  }
  const auto hashes = state.blocks();
  std::string all{"cpu.1\0", 6};
  append(all, uint64_t{4096});
  append(all, 0.001f);
  append(all, -0.002f);
  const char* const names[] = {"v", "w", "w"};
  const uint64_t indices[] = {0, 0, 1};
  for (size_t i = 0; i < 3; ++i) {
    all += std::string(names[i]) + '\0';
    append(all, indices[i]);
    append(all, hashes[i]);
  }

  EXPECT_EQ(hashes[0], XXH3_64bits(block.data(), block.size()));
  EXPECT_EQ(state.hash(), XXH3_64bits(all.data(), all.size()));
}

// Whatever a block holds is hashed as it is stored.
TEST(StateHash, TakesMomentsAsTheyAreStoredAndTheEmaBehindThem) {
  StateArena arena({{"v", {2, 3}, Initial::normal}}, {.moments = kernels::DType::bf16, .has_ema = true});
  runtime::initialise(arena, 3, 0.02f);
  const auto state = arena.block(0, 0);
  for (int64_t i = 0; i < 6; ++i) kernels::values<uint16_t>(state.moment2)[i] = 0x3f80;
  kernels::values<float>(state.ema)[1] = 7.0f;
  std::string bytes;
  for (int64_t i = 0; i < 6; ++i) append(bytes, kernels::values<float>(state.weight)[i]);
  for (int64_t i = 0; i < 6; ++i) append(bytes, uint16_t{0});
  for (int64_t i = 0; i < 6; ++i) append(bytes, uint16_t{0x3f80});
  for (int64_t i = 0; i < 6; ++i) append(bytes, kernels::values<float>(state.ema)[i]);

  EXPECT_EQ(runtime::block_hash(arena, 0, 0), XXH3_64bits(bytes.data(), bytes.size()));
}

// The format is frozen: runs on record are compared with it.
TEST(StateHash, OfAKnownStateStaysWhatItIs) {
  EXPECT_EQ(runtime::to_hex(State().hash()), "0586ac3def53beb3");
}

TEST(StateHash, AnythingOfTheStateChangesIt) {
  const uint64_t hash = State().hash();
  State weight, moment, tokens, bias, arithmetic;
  kernels::values<float>(weight.arena.block(2, 0).weight)[0] = -0.0f;
  kernels::values<float>(moment.arena.block(0, 0).moment2)[5] += 1.0f;
  tokens.tokens += 1;
  bias.bias[1] = 0.002f;
  arithmetic.arithmetic = "cpu.2";

  EXPECT_EQ(State().hash(), hash);
  for (State* other : {&weight, &moment, &tokens, &bias, &arithmetic}) {
    EXPECT_NE(other->hash(), hash);
  }
}

TEST(StateHash, NeedsTheHashOfEveryBlock) {
  State state;
  auto hashes = state.blocks();
  hashes.pop_back();

  try {
    runtime::state_hash(state.arena, {"cpu.1", 0, state.bias, hashes});
    FAIL() << "no StateError";
  } catch (const runtime::StateError& e) {
    EXPECT_STREQ(e.what(), "a hash from 2 blocks, wanted 3");
  }
}

TEST(StateHash, IsPrintedWithSixteenDigits) {
  EXPECT_EQ(runtime::to_hex(0), "0000000000000000");
  EXPECT_EQ(runtime::to_hex(0x9f3c61aa04be7712), "9f3c61aa04be7712");
}

}  // namespace
}  // namespace troupe::tests
