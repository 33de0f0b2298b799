#include "runtime/state/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace troupe::tests {
namespace {

using kernels::Initial;
using kernels::ParameterSpec;
using runtime::Block;
using runtime::block_elements;
using runtime::StateArena;
using runtime::StateError;
using testing::ElementsAre;

std::vector<ParameterSpec> some_specs() {
  return {{"b.weight", {3, 50'000}, Initial::normal},
          {"c.weight", {7}, Initial::ones},
          {"a.weight", {2, 4}, Initial::normal}};
}

TEST(StateArena, BlocksAreSortedByNameAndIndex) {
  const StateArena arena(some_specs());

  std::vector<std::tuple<std::string, int64_t, int64_t, int64_t>> blocks;
  for (const Block& b : arena.blocks()) {
    blocks.emplace_back(arena.spec(b.tensor).name, b.index, b.first, b.count);
  }

  EXPECT_THAT(blocks, ElementsAre(std::tuple("a.weight", 0, 0, 8),
                                  std::tuple("b.weight", 0, 0, block_elements),
                                  std::tuple("b.weight", 1, block_elements, block_elements),
                                  std::tuple("b.weight", 2, 2 * block_elements,
                                             150'000 - 2 * block_elements),
                                  std::tuple("c.weight", 0, 0, 7)));
  EXPECT_EQ(arena.parameter_count(), 150'015);
  EXPECT_EQ(arena.bytes(), 150'015 * 32);
}

TEST(StateArena, TensorsAreFoundByName) {
  const StateArena arena(some_specs());

  EXPECT_EQ(arena.spec(arena.index("c.weight")).shape, std::vector<int64_t>{7});
  EXPECT_TRUE(arena.has("a.weight"));
  EXPECT_FALSE(arena.has("d.weight"));
  EXPECT_THROW(arena.index("d.weight"), StateError);
}

TEST(StateArena, ATensorListedTwiceIsRefused) {
  EXPECT_THROW(StateArena({{"a", {2}, Initial::ones}, {"a", {3}, Initial::ones}}), StateError);
}

// Commit law: state N is written beside state N - 1.
TEST(StateArena, NeighbouringStatesDoNotShareMemory) {
  StateArena arena(some_specs());
  std::set<const void*> places;

  for (const uint64_t state : {0, 1}) {
    const auto block = arena.block(2, state);
    places.insert({block.weight.data, block.moment1.data, block.moment2.data});
    const float* weight = kernels::values<float>(arena.weight(0, state));
    EXPECT_EQ(kernels::values<float>(block.weight), weight + block_elements);
    EXPECT_EQ(block.weight.count(), block_elements);
    EXPECT_EQ(arena.block(2, state + 2).weight.data, block.weight.data);
  }

  EXPECT_EQ(places.size(), 6u);
}

TEST(StateArena, MomentsAndGradientsBeginAtZero) {
  StateArena arena(some_specs());

  for (size_t id = 0; id < arena.blocks().size(); ++id) {
    const auto block = arena.block(static_cast<int64_t>(id), 0);
    const auto gradient = arena.block_gradient(static_cast<int64_t>(id));
    for (int64_t i = 0; i < block.weight.count(); ++i) {
      ASSERT_EQ(kernels::values<float>(block.moment1)[i], 0.0f);
      ASSERT_EQ(kernels::values<float>(block.moment2)[i], 0.0f);
      ASSERT_EQ(kernels::values<int64_t>(gradient)[i], 0);
    }
  }
}

TEST(StateArena, HoldsMomentsOfTheFormatAndAnEmaThatBeginsAtTheWeights) {
  StateArena arena(some_specs(), {.moments = kernels::DType::bf16, .has_ema = true});
  const StateArena plain(some_specs());

  runtime::initialise(arena, 3, 0.02f);

  const int64_t n = arena.parameter_count();
  EXPECT_EQ(plain.bytes(), 32 * n);
  EXPECT_EQ(arena.bytes(), 32 * n) << "bf16 moments save what the EMA takes";
  EXPECT_EQ(describe(arena.format()), "bf16 moments and an EMA");
  EXPECT_THROW(plain.ema(0, 0), StateError);
  EXPECT_THROW(StateArena(some_specs(), {.moments = kernels::DType::i32}), StateError);
  for (size_t id = 0; id < arena.blocks().size(); ++id) {
    const auto block = arena.block(static_cast<int64_t>(id), 0);
    EXPECT_EQ(block.moment1.dtype, kernels::DType::bf16);
    EXPECT_EQ(block.moment2.count(), block.weight.count());
    for (int64_t i = 0; i < block.weight.count(); ++i) {
      ASSERT_EQ(kernels::values<uint16_t>(block.moment1)[i], 0);
      ASSERT_EQ(kernels::values<float>(block.ema)[i], kernels::values<float>(block.weight)[i]);
    }
    EXPECT_NE(arena.block(static_cast<int64_t>(id), 1).ema.data, block.ema.data);
  }
}

TEST(StateArena, AStampNamesTheStateThatAVersionHolds) {
  StateArena arena(some_specs());

  arena.set_stamp(1, 5);

  EXPECT_EQ(arena.stamp(1, 5), 5u);
  EXPECT_EQ(arena.stamp(1, 7), 5u) << "state 7 has not been written";
  EXPECT_EQ(arena.stamp(1, 4), 0u);
  EXPECT_EQ(arena.stamp(0, 5), 0u);
}

TEST(StateArena, UnitsAddUpAndAreCleared) {
  StateArena arena(some_specs());
  kernels::ThreadPool pool(2);
  kernels::Queue queue(pool);
  const int tensor = arena.index("c.weight");
  const kernels::Buffer unit = kernels::allocate_f32({7}), bad = kernels::allocate_f32({7});
  std::fill_n(kernels::values<float>(unit.view), 7, 0.5f);
  std::fill_n(kernels::values<float>(bad.view), 7, 1e30f);

  kernels::add_unit(queue, arena.gradient(tensor, 4, 3), unit);
  kernels::add_unit(queue, arena.gradient(tensor, 4, 3), unit);
  kernels::add_unit(queue, arena.gradient(tensor, 4, 3), bad);
  queue.wait();
  const int64_t sum = kernels::values<int64_t>(arena.block_gradient(4))[6];
  const uint32_t faults = arena.faults();
  arena.clear_gradients(queue);
  queue.wait();

  EXPECT_EQ(sum, 16);
  EXPECT_EQ(faults, uint32_t{kernels::unit_out_of_range});
  EXPECT_EQ(kernels::values<int64_t>(arena.block_gradient(4))[6], 0);
  EXPECT_EQ(arena.faults(), 0u);
}

// Sum law: what an older step has left is no part of it, whether units are added first or somebody reads.
TEST(StateArena, WhatIsClearedIsZeroForUnitsAndReadersAndNothingElseIs) {
  constexpr int64_t n = 2 * block_elements + 40'000;
  StateArena arena({{"w", {n}, Initial::ones}});
  kernels::ThreadPool pool(2);
  kernels::Queue queue(pool), other(pool);
  const kernels::Buffer unit = kernels::allocate_f32({n});
  std::fill_n(kernels::values<float>(unit.view), n, 0.5f);
  const auto add = [&](kernels::Queue& to) { kernels::add_unit(to, arena.gradient(0, 4, 3), unit); };
  const auto sums = [&](int64_t block) {
    const auto gradient = arena.block_gradient(block);
    const int64_t* const values = kernels::values<int64_t>(gradient);
    return std::set<int64_t>(values, values + gradient.count());
  };
  add(queue);
  queue.wait();

  const std::vector<int64_t> first_and_last{0, 2};
  arena.clear_gradients(queue, first_and_last);
  queue.wait();
  EXPECT_EQ(sums(0), std::set<int64_t>{0});
  add(queue);
  add(other);
  queue.wait();
  other.wait();

  EXPECT_EQ(sums(0), std::set<int64_t>{16});
  EXPECT_EQ(sums(1), std::set<int64_t>{24}) << "was not cleared";
  EXPECT_EQ(sums(2), std::set<int64_t>{16});
  arena.clear_gradients(queue);
  queue.wait();
  const auto all = arena.tensor_gradient(0);
  EXPECT_EQ(all.count(), n);
  const int64_t* const values = kernels::values<int64_t>(all);
  EXPECT_TRUE(std::all_of(values, values + n, [](int64_t v) { return v == 0; }));
}

// An owner whose own part of the batch had no unit adds what others send.
TEST(StateArena, WhatOthersSendIsAddedToZeroWhereAPartIsCleared) {
  StateArena arena(some_specs());
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool);
  std::fill_n(kernels::values<int64_t>(arena.mutable_block_gradient(4)), 7, int64_t{100});
  const kernels::Buffer sent = kernels::allocate_zeros(kernels::DType::i64, {7});
  std::fill_n(kernels::values<int64_t>(sent.view), 7, int64_t{3});

  arena.clear_gradients(queue);
  queue.wait();
  kernels::add_fixed_point(queue, {.addend = sent, .sum = arena.mutable_block_gradient(4)});
  kernels::add_fixed_point(queue, {.addend = sent, .sum = arena.mutable_block_gradient(4)});
  queue.wait();

  const auto sum = arena.block_gradient(4);
  EXPECT_THAT(std::vector<int64_t>(kernels::values<int64_t>(sum), kernels::values<int64_t>(sum) + 7),
              testing::Each(6));
}

// Law 5: the place of a tensor in the list does not show.
TEST(StateArena, InitialValuesBelongToNameAndElement) {
  auto specs = some_specs();
  StateArena arena(specs);
  std::swap(specs[0], specs[2]);
  specs.pop_back();
  StateArena other(specs);

  runtime::initialise(arena, 9, 0.02f);
  runtime::initialise(other, 9, 0.02f);

  const float* a = kernels::values<float>(arena.weight(arena.index("a.weight"), 0));
  const float* b = kernels::values<float>(other.weight(other.index("a.weight"), 0));
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(a[i], b[i]);
    EXPECT_EQ(a[i], kernels::initial_value(arena.spec(2), 9, 0.02f, i));
  }
  EXPECT_EQ(kernels::values<float>(arena.weight(1, 0))[3], 1.0f);
}

}  // namespace
}  // namespace troupe::tests
