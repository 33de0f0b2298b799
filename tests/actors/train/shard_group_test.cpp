#include "actors/train/shard_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/actors/local_groups.h"
#include "tests/actors/small_runs.h"
#include "tests/actors/spread_run.h"

namespace troupe::tests {
namespace {

using namespace actors;

/// Of as many processes as `run` says, without any actor.
struct Placed {
  Placed(const SpreadArgs& run, const Recipe& recipe)
      : arena(kernels::parameters(recipe.shape)), plan(spread_plan(run, recipe)),
        placement(plan, recipe.shape, arena) {}
  runtime::StateArena arena;
  config::Plan plan;
  Placement placement;
};

std::map<int64_t, std::pair<int, std::vector<int>>> by_block(const GroupShares& shares,
                                                             const std::vector<CircleBlocks>& all) {
  std::map<int64_t, std::pair<int, std::vector<int>>> out;
  for (const CircleBlocks& one : all) {
    for (const auto& [root, blocks] : one.by_root) {
      for (const int64_t id : blocks) {
        EXPECT_FALSE(out.contains(id)) << id;
        out[id] = {root, shares.circles.at(static_cast<size_t>(one.circle))};
      }
    }
  }
  return out;
}

TEST(ShardGroupTest, EveryUserOfABlockSumsItIntoItsOwnerOnce) {
  const Recipe recipe = recipe_of(4, 4);
  for (const int redundancy : {0, 1}) {
    for (const Layout& layout :
         {Layout{1, 1, 2, 2, 1, 4}, Layout{1, 2, 2, 2, 1, 8}, with_replicas({1, 1, 4, 2, 1, 4}, 2)}) {
      const Placed placed({layout, 4, redundancy}, recipe);
      const Placement& placement = placed.placement;
      const auto& blocks = placed.arena.blocks();
      const GroupShares first = shares_of_group(placement, blocks, 0);
      for (int shard = 0; shard < placed.plan.optimizer_shards; ++shard) {
        const int process = placement.process_of_shard(shard);
        const GroupShares shares = shares_of_group(placement, blocks, shard);
        if (shard < 4) {
          EXPECT_EQ(shares.circles, first.circles) << shard;
        }
        const auto sums = by_block(shares, shares.sums), weights = by_block(shares, shares.weights);
        for (size_t i = 0; i < blocks.size(); ++i) {
          const auto id = static_cast<int64_t>(i);
          const int owner = placement.owner(id), root = placement.process_of_shard(owner);
          const std::vector<int>& users = placement.users(blocks[i].tensor);
          const bool shares_it = owner / 4 == shard / 4 && users.size() > 1 && placement.uses(process, blocks[i].tensor);
          ASSERT_EQ(sums.contains(id), shares_it) << id;
          if (!shares_it) continue;
          EXPECT_EQ(sums.at(id), std::pair(root, users));
          const int buddy = redundancy == 0 ? -1 : placement.process_of_shard(placement.buddy(owner));
          std::vector<int> get = users;
          std::erase(get, buddy);
          ASSERT_EQ(weights.contains(id), get.size() > 1 && process != buddy) << id;
          if (weights.contains(id)) {
            EXPECT_EQ(weights.at(id), std::pair(root, get));
          }
        }
      }
    }
  }
}

/// Whose members never find each other.
class BrokenGroup : public runtime::DeviceGroup {
 public:
  explicit BrokenGroup(const runtime::GroupOptions&) {}
  std::string describe() const override { return "broken"; }
  void sum(int, std::vector<runtime::GroupPart>, Deadline, Done done) override { fail(done); }
  void hand_out(int, std::vector<runtime::GroupPart>, Deadline, Done done) override { fail(done); }
  void exchange(std::vector<runtime::GroupSlice>, std::vector<runtime::GroupSlice>, Deadline, Done done) override {
    fail(done);
  }

 private:
  static void fail(const Done& done) {
    if (done) done("no member has come");
  }
};

class TogetherTest : public testing::Test {
 protected:
  SpreadOutcome play(SpreadArgs run, const Recipe& recipe) {
    run.spoil = [&](Company& company) { company.groups = {groups_.maker(), [&] { return groups_.new_id(); }}; };
    return play_spread(run, recipe, learnable(recipe));
  }
  LocalGroups groups_;
};

// Law 2: integers in any order; who sums them, and how they come to others, shows in no bit.
TEST_F(TogetherTest, ShardsThatSumTogetherChangeNoBit) {
  Recipe recipe = recipe_of(5, 5);
  recipe.optimizer.set_ema_decay(0.9);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const int redundancy : {0, 1}) {
    for (const SpreadArgs& run :
         {SpreadArgs{{1, 1, 2, 2, 1, 2}, 2, redundancy}, SpreadArgs{{1, 1, 3, 2, 1, 6}, 3, redundancy},
          SpreadArgs{{1, 2, 2, 2, 2, 8}, 4, redundancy}, SpreadArgs{with_replicas({1, 1, 4, 2, 1, 4}, 2), 4, redundancy}}) {
      const SpreadOutcome outcome = play(run, recipe);
      EXPECT_EQ(outcome.hash, wanted) << to_string(run.layout) << outcome.error;
    }
  }
}

TEST_F(TogetherTest, AGroupLastsAsLongAsStepsFollowEachOther) {
  const Recipe recipe = recipe_of(3, 4, 5);
  const SpreadArgs run{{1, 1, 2, 2, 1, 4}, 2};  // two shards in each process
  const SpreadOutcome outcome = play(run, recipe);
  EXPECT_EQ(outcome.hash, play_plainly(recipe, learnable(recipe)).hash) << outcome.error;
  EXPECT_EQ(groups_.groups(), 2);
  EXPECT_EQ(groups_.sums(), 2 * 5);
  EXPECT_EQ(groups_.hand_outs(), 2 * 5);
  EXPECT_EQ(groups_.exchanges(), 0);
}

TEST_F(TogetherTest, BuddiesGetWhatTheirWardsHaveReduced) {
  const Recipe recipe = recipe_of(3, 4, 4);
  const SpreadOutcome outcome = play({{1, 1, 2, 2, 1, 2}, 2, 1}, recipe);
  EXPECT_EQ(outcome.hash, play_plainly(recipe, learnable(recipe)).hash) << outcome.error;
  EXPECT_EQ(groups_.exchanges(), 4);
  EXPECT_EQ(groups_.hand_outs(), 0);  // they make the weights themselves
}

// Law 3: what a group had under way when a member was lost shows in no bit, and others go on in a new one.
TEST_F(TogetherTest, AnAttemptThatEndsAmongTheGroupsWorkChangesNoBit) {
  const Recipe recipe = recipe_of(4, 4);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  std::vector<Failpoint> failpoints = {parse_failpoint(Fault::drop, "optimizer_shard/1@2:prepare"),
                                       parse_failpoint(Fault::drop, "optimizer_shard/0@2:commit")};
  for (const char* where : {"optimizer_shard/0@2:begin", "optimizer_shard/1@2:prepare", "optimizer_shard/0@2:commit",
                            "optimizer_shard/1@2:apply", "expert_shard/1@2:backward", "coordinator@2:apply"}) {
    failpoints.push_back(parse_failpoint(Fault::kill, where));
    failpoints.push_back(parse_failpoint(Fault::fail, where));
  }
  for (const Failpoint& f : failpoints) {
    for (const int redundancy : {0, 1}) {
      const int before = groups_.groups();
      const SpreadArgs run{.layout = with_replicas({1, 1, 2, 1, 1, 2}, 2), .processes = 2, .redundancy = redundancy,
                           .trouble = {.failpoints = {f}, .deadline = std::chrono::seconds(1)}};
      const SpreadOutcome outcome = play(run, recipe);
      EXPECT_EQ(outcome.hash, wanted) << to_string(f) << ", redundancy " << redundancy << outcome.error;
      EXPECT_GT(groups_.groups() - before, 1) << to_string(f);
    }
  }
}

// A group that cannot be had ends no run.
TEST_F(TogetherTest, ARunWhoseGroupsFailGoesOnByMessages) {
  const Recipe recipe = recipe_of(3, 4);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  const auto no_id = []() -> std::string { throw runtime::DataPlaneError("no way to any interface"); };
  const auto no_group = [](const runtime::GroupOptions& options) -> std::unique_ptr<runtime::DeviceGroup> {
    return std::make_unique<BrokenGroup>(options);
  };
  for (const Company::Groups& groups : {Company::Groups{groups_.maker(), no_id},
                                        Company::Groups{no_group, [&] { return groups_.new_id(); }}}) {
    SpreadArgs run{{1, 1, 2, 2, 1, 2}, 2, 1};
    run.spoil = [&](Company& company) { company.groups = groups; };
    const SpreadOutcome outcome = play_spread(run, recipe, learnable(recipe));
    EXPECT_EQ(outcome.hash, wanted) << outcome.error;
    ASSERT_EQ(outcome.count(wire::Event::ALARM), 1);
    for (const wire::Event& event : outcome.events) {
      if (event.kind() != wire::Event::ALARM) continue;
      EXPECT_THAT(event.text(), testing::HasSubstr("go on by messages"));
    }
  }
  EXPECT_EQ(groups_.sums(), 0);
}

// Commit law: a process that has taken a lost one's place is handed its state by messages, and the groups are new.
TEST_F(TogetherTest, NewcomersGoOnInANewGroup) {
  const Recipe recipe = recipe_of(3, 4);
  const std::string wanted = play_plainly(recipe, learnable(recipe)).hash;
  for (const std::set<int>& newcomers : {std::set<int>{0, 2}, {1, 3}, {3}}) {
    const SpreadOutcome outcome =
        play({.layout = {1, 1, 4, 2, 1, 4}, .processes = 4, .redundancy = 1, .newcomers = newcomers}, recipe);
    EXPECT_EQ(outcome.hash, wanted) << testing::PrintToString(newcomers) << outcome.error;
  }
}

}  // namespace
}  // namespace troupe::tests
