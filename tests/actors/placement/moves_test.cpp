// What moves when a run goes on with other processes is what somebody lacks, and nothing else.
#include "actors/placement/moves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/actors/spread_run.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using testing::IsEmpty;

/// The same run in so many processes.
struct Spread {
  Spread(const Recipe& recipe, const runtime::StateArena& arena, int processes, int redundancy)
      : plan(spread_plan({{1, processes > 2 ? 2 : 1, processes, processes, 1, processes}, processes, redundancy},
                         recipe)),
        placement(plan, recipe.shape, arena) {}

  const config::Plan plan;
  const Placement placement;
};

class MovesTest : public testing::Test {
 protected:
  MovesTest() : recipe_(small_recipe()) {
    recipe_.shape.layers = 5;
    recipe_.shape.dense_layers = 1;
    recipe_.micro_batches = 8;
    arena_.emplace(kernels::parameters(recipe_.shape), state_format(recipe_));
    for (int n = 1; n <= 5; ++n) {
      for (int redundancy : {0, 1}) spread_[{n, redundancy}].reset(new Spread(recipe_, *arena_, n, redundancy));
    }
  }

  const Placement& in(int processes, int redundancy = 1) {
    return spread_.at({processes, redundancy})->placement;
  }
  /// Old processes in the order of the new ones, -1 for one that is new.
  std::vector<Holder> holders(const Placement& before, const std::vector<int>& processes) {
    std::vector<Holder> all;
    for (const int p : processes) all.push_back(p < 0 ? Holder{nullptr, 0} : Holder{&before, p});
    return all;
  }
  int64_t blocks() const { return static_cast<int64_t>(arena_->blocks().size()); }

  /// Every process has what it needs afterwards, gets nothing twice or that it has, and from those who have it.
  void expect_the_difference(const std::vector<Holder>& holders, const Placement& after, const Moves& moves) {
    std::map<std::pair<int, int64_t>, Share> has;
    std::map<std::pair<int, int64_t>, bool> has_rest_only;
    std::set<std::pair<int, int64_t>> got;
    for (const Move& move : moves.moves) {
      const auto give = [&](const std::vector<int64_t>& ids, Share least) {
        for (const int64_t id : ids) {
          EXPECT_GE(holders[static_cast<size_t>(move.from)].share(id), least) << "who sends has it";
          EXPECT_TRUE(got.emplace(move.to, id).second) << "block " << id << " comes once";
        }
      };
      give(move.whole, Share::whole);
      give(move.weights, Share::weights);
      give(move.rest, Share::whole);
      for (const int64_t id : move.rest) {
        EXPECT_EQ(holders[static_cast<size_t>(move.to)].share(id), Share::weights);
      }
    }
    int64_t moved = 0, stayed = 0;
    for (int p = 0; p < after.processes(); ++p) {
      for (int64_t id = 0; id < blocks(); ++id) {
        const Share needs = after.share(p, id), had = holders[static_cast<size_t>(p)].share(id);
        EXPECT_EQ(got.contains({p, id}), needs > had) << "process " << p << " block " << id;
        moved += needs > had ? 1 : 0;
        stayed += needs != Share::none && needs <= had ? 1 : 0;
      }
    }
    EXPECT_EQ(moves.moved, moved);
    EXPECT_EQ(moves.stayed, stayed);
  }

  Recipe recipe_;
  std::optional<runtime::StateArena> arena_;
  std::map<std::pair<int, int>, std::unique_ptr<Spread>> spread_;
};

TEST_F(MovesTest, AreExactlyTheDifferenceWhoeverComesAndGoes) {
  const struct {
    int before, after;
    std::vector<int> processes;  // those that leave stand behind
  } changes[] = {{2, 3, {0, 1, -1}},     {3, 4, {0, 1, 2, -1}}, {4, 3, {0, 1, 2, 3}}, {4, 3, {0, 2, 3, 1}},
                 {4, 2, {0, 3, 1, 2}},   {2, 5, {0, 1, -1, -1, -1}}, {3, 3, {0, 2, 1}}, {3, 3, {0, 1, -1}}};
  for (const auto& change : changes) {
    const auto all = holders(in(change.before), change.processes);

    const Moves moves = make_moves(all, in(change.after), *arena_);

    EXPECT_THAT(moves.lost, IsEmpty());
    expect_the_difference(all, in(change.after), moves);
    EXPECT_GT(moves.moved, 0);
  }
}

TEST_F(MovesTest, AreNoneWhereNothingChanges) {
  for (const int redundancy : {0, 1}) {
    const Moves moves = make_moves(holders(in(4, redundancy), {0, 1, 2, 3}), in(4, redundancy), *arena_);

    EXPECT_THAT(moves.moves, IsEmpty());
    EXPECT_EQ(moves.moved, 0);
    EXPECT_EQ(moves.moved_bytes, 0);
  }
}

TEST_F(MovesTest, ComeFromTheOwnerAndIfThatIsGoneFromTheBuddy) {
  const Placement& before = in(3);
  const Moves all_there = make_moves(holders(before, {0, 1, 2, -1}), in(4), *arena_);
  const Moves without_2 = make_moves(holders(before, {0, 1, -1, -1}), in(4), *arena_);

  for (const Move& move : all_there.moves) {
    for (const int64_t id : move.whole) EXPECT_EQ(before.process_of_shard(before.owner(id)), move.from);
  }
  EXPECT_THAT(without_2.lost, IsEmpty()) << "each block has a copy";
  for (const Move& move : without_2.moves) {
    EXPECT_NE(move.from, 2);
    for (const int64_t id : move.whole) {
      const int owner = before.process_of_shard(before.owner(id));
      EXPECT_EQ(move.from, owner == 2 ? 0 : owner) << "the first is the last one's buddy";
    }
  }
}

// Commit law: without copies what a node holds is nowhere else, so it gives before it goes.
TEST_F(MovesTest, OfWhoLeavesAreMadeByItWhereNobodyHasACopy) {
  const auto all = holders(in(3, 0), {0, 1, 2});
  const Moves moves = make_moves(all, in(2, 0), *arena_);

  EXPECT_THAT(moves.lost, IsEmpty());
  expect_the_difference(all, in(2, 0), moves);
  EXPECT_TRUE(moves.find(2, 0) || moves.find(2, 1));
  for (const Move& move : moves.moves) EXPECT_LT(move.to, 2) << "who leaves gets nothing";
}

// Commit law: a change that fails half-way takes nothing from anybody.
TEST_F(MovesTest, BehindAChangeThatFailedAreFromWhatBothPlansGave) {
  const Placement &before = in(4), &meant = in(3);
  const auto has_both = [&](int now, int then) { return Holder{&meant, now, {{&before, then}}}; };
  const Holder nothing{nullptr, 0};
  // One of four is lost, and others had their blocks already: one of them while who leaves is there, or all.
  const std::vector<Holder> one{{&before, 0}, nothing, has_both(2, 1), {&before, 3}};
  const std::vector<Holder> all{has_both(0, 0), nothing, has_both(2, 1)};
  for (const auto& holders : {one, all}) {
    const Moves moves = make_moves(holders, meant, *arena_);

    EXPECT_THAT(moves.lost, IsEmpty());
    expect_the_difference(holders, meant, moves);
  }
  const std::vector<Holder> without_both{{&before, 0}, nothing, {&meant, 2}, {&before, 3}};
  EXPECT_THAT(make_moves(without_both, meant, *arena_).lost, testing::Not(IsEmpty())) << "what this is for";
}

TEST_F(MovesTest, OfABlockThatNobodyHasAreNone) {
  const Moves pair_lost = make_moves(holders(in(4), {0, 3, -1}), in(3), *arena_);
  const Moves without_copies = make_moves(holders(in(3, 0), {0, 1}), in(2, 0), *arena_);

  std::vector<int64_t> wanted;
  for (int64_t id = 0; id < blocks(); ++id) {
    const Placement& before = in(4);
    if (before.process_of_shard(before.owner(id)) == 1) wanted.push_back(id);
  }
  EXPECT_EQ(pair_lost.lost, wanted) << "processes 1 and 2 were all that had them";
  EXPECT_THAT(without_copies.lost, testing::Not(IsEmpty()));
}

TEST_F(MovesTest, AreFewestWithTheProcessesThatAreChosen) {
  const auto cost = [&](const std::vector<int>& old, const std::vector<int>& chosen, const Placement& before,
                        const Placement& after) {
    std::vector<int> by_process(static_cast<size_t>(after.processes()), -1);
    for (size_t i = 0; i < old.size(); ++i) by_process[static_cast<size_t>(chosen[i])] = old[i];
    return make_moves(holders(before, by_process), after, *arena_);
  };
  // The second of four leaves; all orders of the others are tried.
  const std::vector<int> old{0, 2, 3};
  const auto chosen = choose_processes(holders(in(4), old), in(3), *arena_);
  const auto bytes = cost(old, chosen, in(4), in(3)).moved_bytes;

  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0], 0) << "the first stays the first";
  EXPECT_LE(bytes, cost(old, {0, 1, 2}, in(4), in(3)).moved_bytes);
  EXPECT_LE(bytes, cost(old, {0, 2, 1}, in(4), in(3)).moved_bytes);
}

TEST_F(MovesTest, ANewcomerTakesNobodysPlace) {
  const auto chosen = choose_processes(holders(in(3), {0, 1, 2}), in(4), *arena_);

  EXPECT_EQ(std::set<int>(chosen.begin(), chosen.end()).size(), 3u);
  EXPECT_EQ(chosen[0], 0);
}

}  // namespace
}  // namespace troupe::tests
