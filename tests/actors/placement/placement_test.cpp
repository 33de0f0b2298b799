#include "actors/placement/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "tests/actors/small_runs.h"
#include "tests/actors/spread_run.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Placement, GivesEveryBlockOneOwnerAmongThoseThatUseIt) {
  const Recipe recipe = recipe_of(5, 4);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  for (const int processes : {1, 2, 3, 4, 8}) {
    const auto plan = spread_plan({{1, 2, 2, 2, 1, processes}, processes}, recipe);
    const Placement placement(plan, recipe.shape, arena);
    std::vector<int> owned(arena.blocks().size(), 0);
    for (int shard = 0; shard < plan.optimizer_shards; ++shard) {
      for (const int64_t id : placement.owned_by(shard)) ++owned[static_cast<size_t>(id)];
    }
    EXPECT_THAT(owned, testing::Each(1));
    for (size_t id = 0; id < arena.blocks().size(); ++id) {
      const int process = placement.process_of_shard(placement.owner(static_cast<int64_t>(id)));
      EXPECT_TRUE(placement.uses(process, arena.blocks()[id].tensor));
    }
  }
}

TEST(Placement, EdgesHaveEachSharedBlockOnceForEachOtherUser) {
  const Recipe recipe = recipe_of(5, 4);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  const auto plan = spread_plan({{1, 2, 2, 2, 1, 8}, 4}, recipe);
  const Placement placement(plan, recipe.shape, arena);

  std::set<std::pair<int, int64_t>> met;  // user's process, block
  for (const BlockEdge& edge : placement.edges()) {
    for (const int64_t id : edge.blocks) {
      EXPECT_EQ(placement.owner(id), edge.owner);
      EXPECT_TRUE(met.emplace(placement.process_of_shard(edge.user), id).second);
    }
  }
  size_t wanted = 0;
  for (const auto& block : arena.blocks()) wanted += placement.users(block.tensor).size() - 1;
  EXPECT_EQ(met.size(), wanted);
}

TEST(Placement, SpreadsExpertsOverMoreProcessesThanThereAreWorkers) {
  const Recipe recipe = recipe_of(3, 2);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  const auto plan = spread_plan({{1, 1, 1, 4, 1, 4}, 4}, recipe);
  const Placement placement(plan, recipe.shape, arena);

  std::vector<int> processes;
  for (int shard = 0; shard < 4; ++shard) {
    processes.push_back(placement.process_of({Role::expert_shard, 0, 0, shard}));
  }
  EXPECT_THAT(processes, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(placement.users(arena.index("model.layers.1.mlp.experts.3.up_proj.weight")),
              ElementsAre(3));
}

TEST(Placement, ExpertsStandOnceInEachReplica) {
  const Recipe recipe = recipe_of(3, 4);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  const auto plan = spread_plan({with_replicas({1, 1, 4, 2, 1, 4}, 2), 4}, recipe);
  const Placement placement(plan, recipe.shape, arena);

  for (int replica = 0; replica < 2; ++replica) {
    for (int shard = 0; shard < 2; ++shard) {
      EXPECT_EQ(placement.process_of({Role::expert_shard, 0, replica, shard}), 2 * replica + shard);
    }
  }
  EXPECT_THAT(placement.users(arena.index("model.layers.1.mlp.experts.0.up_proj.weight")), ElementsAre(0, 2));
  EXPECT_THAT(placement.users(arena.index("model.layers.1.mlp.experts.3.up_proj.weight")), ElementsAre(1, 3));
}

// Two ranks hold each stage, so both compute with its tensors.
TEST(Placement, AStageOfDualPipeIsUsedAtBothRanksThatHoldIt) {
  const Recipe recipe = recipe_of(4, 8);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  const auto plan = spread_plan({{1, 4, 1, 1, 1, 4, config::Parallel::DUALPIPE}, 4}, recipe);
  const Placement placement(plan, recipe.shape, arena);

  EXPECT_THAT(placement.users(arena.index("model.layers.1.self_attn.o_proj.weight")),
              ElementsAre(1, 2));
  EXPECT_THAT(placement.users(arena.index("model.layers.3.mlp.experts.0.up_proj.weight")),
              ElementsAre(3));
}

TEST(Placement, WhatALostProcessHeldIsWithOthers) {
  const Recipe recipe = recipe_of(4, 8);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  SpreadArgs args{{1, 2, 2, 2, 1, 4}, 4, 1};
  const auto plan = spread_plan(args, recipe);
  const Placement placement(plan, recipe.shape, arena);
  for (int lost = 0; lost < 4; ++lost) {
    std::map<int64_t, int> whole, weights;
    for (const RestoreEdge& edge : placement.edges_to_restore(lost)) {
      EXPECT_EQ(placement.process_of_shard(edge.to), lost);
      EXPECT_NE(placement.process_of_shard(edge.from), lost);
      for (const int64_t id : edge.whole) ++whole[id];
      for (const int64_t id : edge.weights) ++weights[id];
    }
    for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
      const int owner = placement.owner(id);
      EXPECT_NE(placement.process_of_shard(placement.buddy(owner)), placement.process_of_shard(owner));
      EXPECT_EQ(placement.ward(placement.buddy(owner)), owner);
      const bool is_whole = placement.process_of_shard(owner) == lost ||
                            placement.process_of_shard(placement.buddy(owner)) == lost;
      const int tensor = arena.blocks()[static_cast<size_t>(id)].tensor;
      EXPECT_EQ(whole[id], is_whole ? 1 : 0) << id;
      EXPECT_EQ(weights[id], !is_whole && placement.uses(lost, tensor) ? 1 : 0) << id;
    }
  }
}

// Laws 1 to 3: in how many processes a run is played shows in no bit.
TEST(Processes, AnyNumberOfThemHasThePlainLoopsHash) {
  const Recipe recipe = recipe_of(5, 5);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  const SpreadArgs runs[] = {
      {{1, 1, 1, 1, 1, 1}, 2}, {{1, 1, 1, 2, 1, 2}, 2}, {{2, 1, 2, 2, 1, 2}, 2},
      {{1, 2, 1, 1, 2, 2}, 2}, {{1, 1, 3, 3, 1, 3}, 3}, {{2, 2, 2, 2, 2, 8}, 4},
      {{1, 4, 1, 2, 1, 4}, 4}, {{1, 3, 2, 4, 1, 2}, 4}, {{1, 2, 4, 4, 2, 8}, 8}};
  for (const SpreadArgs& run : runs) {
    const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << run.processes << " processes, " << to_string(run.layout)
                                    << outcome.error;
  }
}

TEST(Processes, PlayEveryScheduleWithThePlainLoopsHash) {
  using config::Parallel;
  const Recipe recipe = recipe_of(4, 8);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  const SpreadArgs runs[] = {{{1, 2, 1, 2, 1, 2, Parallel::ZERO_BUBBLE}, 2},
                             {{1, 4, 1, 2, 1, 4, Parallel::DUALPIPE}, 4},
                             {{1, 2, 2, 2, 1, 4, Parallel::DUALPIPE}, 4},
                             {{1, 4, 2, 2, 1, 4, Parallel::DUALPIPE_V}, 4},
                             {{1, 1, 2, 2, 1, 2, Parallel::COMBINED_ONE_F_ONE_B}, 2},
                             {{1, 2, 2, 2, 1, 4, Parallel::COMBINED_ONE_F_ONE_B}, 4}};
  for (const SpreadArgs& run : runs) {
    const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << run.processes << " processes, " << to_string(run.layout)
                                    << outcome.error;
  }
}

TEST(Processes, WithMtpEmaAndBf16TheHashIsThePlainLoops) {
  for (const int64_t mtp_layers : {0, 1, 2}) {
    Recipe recipe = recipe_of(3, 3);
    recipe.shape.mtp_layers = mtp_layers;
    recipe.optimizer.set_moments(config::Optimizer::BF16);
    recipe.optimizer.set_ema_decay(0.9);
    recipe.precision = kernels::Precision::bf16;

    const SpreadOutcome outcome = play_spread({{1, 2, 3, 2, 1, 3}, 3}, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, play_plainly(recipe, learnable(recipe)).hash) << outcome.error;
  }
}

// Law 2: rows travel as they are rounded everywhere, and sums of groups as they are; groups that
// several shards share, and shards that share a process, too.
TEST(Processes, RowsThatTravelInFewerBytesAreTheSame) {
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::bf16,
                               kernels::Precision::fp8}) {
    for (const int64_t groups : {1, 2, 4}) {
      Recipe recipe = recipe_of(3, 4);
      recipe.precision = precision;
      recipe.shape.groups = groups;
      recipe.shape.top_groups = std::min<int64_t>(2, groups);
      const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
      for (const SpreadArgs& run : {SpreadArgs{{1, 1, 2, 4, 1, 4}, 2}, SpreadArgs{{1, 2, 2, 2, 1, 4}, 4},
                                    SpreadArgs{{1, 1, 4, 4, 2, 3}, 3}}) {
        const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
        EXPECT_EQ(outcome.hash, wanted) << to_string(run.layout) << " of " << groups << " groups, "
                                        << to_string(precision) << outcome.error;
      }
    }
  }
}

// Law 2: how often experts stand, and whom they serve, shows in no bit; replicas that share a process, too.
TEST(Processes, ReplicasOfExpertsChangeNoBit) {
  using config::Parallel;
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::fp8}) {
    Recipe recipe = recipe_of(4, 8);
    recipe.precision = precision;
    const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
    const SpreadArgs runs[] = {{with_replicas({1, 1, 2, 1, 1, 2}, 2), 2},
                               {with_replicas({1, 1, 2, 1, 1, 2}, 2), 2, 1},
                               {with_replicas({2, 1, 4, 2, 1, 4}, 2), 4, 1},
                               {with_replicas({1, 2, 2, 1, 1, 4, Parallel::DUALPIPE}, 2), 4},
                               {with_replicas({1, 1, 3, 2, 1, 3}, 2), 2, 1},
                               {with_replicas({2, 1, 2, 1, 1, 1}, 2), 1}};
    for (const SpreadArgs& run : runs) {
      const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << run.processes << " processes, " << to_string(run.layout) << outcome.error;
    }
  }
}

TEST(Processes, OneThatHasTheStateHandsItOut) {
  const Recipe recipe = recipe_of(4, 4);
  for (const int redundancy : {0, 1}) {
    const SpreadArgs run{.layout = {1, 2, 2, 2, 1, 4}, .processes = 4, .redundancy = redundancy,
                         .hands_out_state = true};
    const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, play_plainly(recipe, learnable(recipe)).hash) << outcome.error;
  }
}

// Sums go in as many messages as they are large, each added when it comes.
TEST(Processes, SumsInSeveralMessagesChangeNoBit) {
  const Recipe recipe = recipe_of(5, 5);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const size_t blocks : {size_t{1}, size_t{3}, size_t{1000}}) {
    for (const Layout& layout : {Layout{1, 1, 2, 2, 1, 4}, with_replicas({1, 1, 2, 1, 1, 2}, 2)}) {
      const SpreadArgs run{.layout = layout, .processes = 2, .redundancy = 1,
                           .spoil = [&](Company& company) { company.blocks_at_once = blocks; }};
      const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << blocks << to_string(layout) << outcome.error;
    }
  }
}

// Law 3: of an attempt that was given up some messages have come, and some buffers wait to be sent.
TEST(Processes, AnAttemptThatEndsAmongItsSumsChangesNoBit) {
  const Recipe recipe = recipe_of(4, 4);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const char* where : {"optimizer_shard/0@2:prepare", "optimizer_shard/1@2:prepare", "expert_shard/1@2:backward"}) {
    for (const Fault fault : {Fault::kill, Fault::drop, Fault::fail}) {
      Failpoint f = parse_failpoint(fault, where);
      const SpreadArgs run{.layout = with_replicas({1, 1, 2, 1, 1, 2}, 2), .processes = 2, .redundancy = 1,
                           .trouble = {.failpoints = {f}, .deadline = std::chrono::seconds(2)},
                           .spoil = [](Company& company) { company.blocks_at_once = 1; }};
      const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << to_string(f) << outcome.error;
    }
  }
}

// Commit law: a buddy holds what its ward does, and applies the same.
TEST(Processes, BuddiesChangeNoBit) {
  Recipe recipe = recipe_of(5, 5);
  recipe.optimizer.set_ema_decay(0.9);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const SpreadArgs& run :
       {SpreadArgs{{1, 1, 1, 1, 1, 1}, 2, 1}, SpreadArgs{{1, 1, 2, 2, 1, 4}, 2, 1},
        SpreadArgs{{1, 2, 1, 2, 1, 3}, 3, 1}, SpreadArgs{{1, 2, 2, 2, 2, 8}, 4, 1}}) {
    const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << to_string(run.layout) << outcome.error;
  }
}

// Commit law: who takes a lost one's place has what that had before it sends others any of it.
TEST(Processes, SeveralNewcomersAtOnceLackNothing) {
  Recipe recipe = recipe_of(3, 4);
  recipe.optimizer.set_ema_decay(0.9);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const std::set<int>& newcomers : {std::set<int>{0, 2}, {1, 3}, {3}}) {
    for (const Layout& layout : {Layout{1, 1, 4, 2, 1, 4}, Layout{1, 2, 2, 2, 1, 8},
                                 with_replicas({1, 1, 4, 2, 1, 4}, 2)}) {
      const SpreadOutcome outcome = play_spread(
          {.layout = layout, .processes = 4, .redundancy = 1, .newcomers = newcomers}, recipe,
          learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted)
          << to_string(layout) << ", " << testing::PrintToString(newcomers) << outcome.error;
    }
  }
}

// What is not there is not made up: neither zeros nor another state are computed with or sent.
TEST(Processes, WithoutItsStateOneBeginsNoStep) {
  const Recipe recipe = recipe_of(3, 4);
  const auto error_with = [&](const std::function<void(Company&)>& spoil) {
    const SpreadArgs run{.layout = {1, 1, 2, 2, 1, 2}, .processes = 2, .spoil = spoil};
    return play_spread(run, recipe, learnable(recipe)).error;
  };

  EXPECT_THAT(error_with([](Company& company) { company.has_state = company.is_first(); }),
              HasSubstr("crew/0.0.1 has no state yet, wanted one to begin step 1"));
  EXPECT_THAT(error_with([](Company& company) {
                if (!company.is_first()) company.arena.set_stamp(0, 8);
              }),
              HasSubstr("stands at state 8, wanted 0 to begin step 1"));
}

TEST(Processes, WithoutItsStateOneAppliesNoCommit) {
  const Recipe recipe = recipe_of(3, 4);
  const BatchSource batches = learnable(recipe);
  SpreadArgs run{.layout = {1, 1, 2, 2, 1, 2}, .processes = 2};
  run.from.open_commit = play_spread(run, recipe, batches).steps.at(0).record();
  run.from.commits = {*run.from.open_commit};
  run.from.term = 2;
  run.spoil = [](Company& company) { company.has_state = company.is_first(); };

  EXPECT_THAT(play_spread(run, recipe, batches).error, HasSubstr("crew/0.0.1 has no state yet, wanted one to apply step 1"));
}

// Law 3: an actor of another process that ends is started again there, and the step with it.
TEST(Processes, AKillOfAnActorOfAnotherProcessChangesNoBit) {
  const Recipe recipe = recipe_of(4, 4);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const Role role : {Role::stage, Role::attention_shard, Role::router, Role::expert_shard,
                          Role::optimizer_shard}) {
    for (const Phase phase : phases_of(role)) {
      const int last = role == Role::optimizer_shard || role == Role::router ? 3 : 1;
      const Failpoint f{.role = role, .index = last, .step = 2, .phase = phase};
      const SpreadArgs run{
          .layout = {1, 1, 2, 2, 1, 4}, .processes = 2, .trouble = {.failpoints = {f}}};

      const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
      EXPECT_EQ(outcome.hash, wanted) << to_string(f) << outcome.error;
      EXPECT_EQ(outcome.count(wire::Event::ACTOR_RESTARTED), 1) << to_string(f);
    }
  }
}

TEST(DealtBlocks, AreEvenAndFewGoToAnotherWhenOneComes) {
  for (const int64_t count : {0, 1, 5, 64, 1000, 1001}) {
    std::vector<int> before = deal_blocks(count, 1);
    for (int hands = 2; hands <= 9; ++hands) {
      const std::vector<int> now = deal_blocks(count, hands);
      std::vector<int64_t> held(static_cast<size_t>(hands), 0);
      int64_t moved = 0;
      for (size_t i = 0; i < now.size(); ++i) {
        ++held[static_cast<size_t>(now[i])];
        if (now[i] == before[i]) continue;
        ++moved;
        EXPECT_EQ(now[i], hands - 1) << "only to the one who comes";
      }
      EXPECT_EQ(moved, count / hands);
      const auto [least, most] = std::minmax_element(held.begin(), held.end());
      EXPECT_LE(*most - *least, 1) << count << " blocks, " << hands << " hands";
      before = now;
    }
  }
}

TEST(Placement, SaysWhatAProcessIsToHaveOfEachBlock) {
  const Recipe recipe = recipe_of(4, 8);
  const runtime::StateArena arena(kernels::parameters(recipe.shape));
  const auto plan = spread_plan({{1, 2, 2, 2, 1, 4}, 4, 1}, recipe);
  const Placement placement(plan, recipe.shape, arena);
  for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
    const int owner = placement.process_of_shard(placement.owner(id));
    for (int p = 0; p < 4; ++p) {
      const bool is_whole = p == owner || p == (owner + 1) % 4;
      const bool is_used = placement.uses(p, arena.blocks()[static_cast<size_t>(id)].tensor);
      EXPECT_EQ(placement.share(p, id), is_whole  ? Share::whole
                                        : is_used ? Share::weights
                                                  : Share::none);
      const runtime::BlockUse use = placement.use(p, id);
      EXPECT_EQ(std::tuple(use.weights, use.moments, use.gradient), std::tuple(is_whole || is_used, is_whole, is_used));
    }
  }
}

TEST(LostCopies, AreAllOfABlockWhenItsOwnerAndTheProcessBehindItAreGone) {
  EXPECT_FALSE(actors::have_lost_all_copies({}, 3));
  EXPECT_FALSE(actors::have_lost_all_copies({2}, 3));
  EXPECT_FALSE(actors::have_lost_all_copies({0, 2}, 4));
  EXPECT_TRUE(actors::have_lost_all_copies({1, 2}, 4));
  EXPECT_TRUE(actors::have_lost_all_copies({0, 3}, 4)) << "the first is the last one's buddy";
  EXPECT_TRUE(actors::have_lost_all_copies({0, 1}, 2));
}

}  // namespace
}  // namespace troupe::tests
