#include "actors/placement/mover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cluster/cluster_error.h"
#include "runtime/proto/cluster.pb.h"
#include "runtime/state/hash.h"
#include "tests/actors/spread_run.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr uint64_t state = 7;

/// A value that says which element of which part of which block it is.
float value_of(int64_t block, size_t part, int64_t element) {
  return static_cast<float>(block * 4 + static_cast<int64_t>(part)) + static_cast<float>(element % 97) / 128;
}

Recipe recipe_with_ema() {
  Recipe recipe = small_recipe();
  recipe.optimizer.set_ema_decay(0.9);
  return recipe;
}

/// A process with an arena and a plane.
struct Standing {
  explicit Standing(const Recipe& recipe) : arena(kernels::parameters(recipe.shape), state_format(recipe)) {}

  void fill(const Placement& placement, int process) {
    for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
      const Share share = placement.share(process, id);
      if (share == Share::none) continue;
      const auto parts = arena.block(id, state).parts();
      for (size_t part = 0; part < (share == Share::whole ? parts.size() : 1); ++part) {
        for (int64_t i = 0; i < parts[part].count(); ++i) {
          kernels::values<float>(parts[part])[i] = value_of(id, part, i);
        }
      }
      arena.set_stamp(id, state);
    }
  }
  void expect(const Placement& placement, int process) {
    for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
      const Share share = placement.share(process, id);
      if (share == Share::none) continue;
      EXPECT_EQ(arena.stamp(id, state), state);
      const auto parts = arena.block(id, state).parts();
      for (size_t part = 0; part < (share == Share::whole ? parts.size() : 1); ++part) {
        for (int64_t i = 0; i < parts[part].count(); ++i) {
          ASSERT_EQ(kernels::values<float>(parts[part])[i], value_of(id, part, i))
              << "process " << process << " block " << id << " part " << part;
        }
      }
    }
  }
  void stand(const Moves& moves, int process) {
    mover = std::make_unique<Mover>(Mover::Args{.arena = arena, .state = state, .process = process,
                                                .moves = moves});
    plane = runtime::make_local_plane({.received =
                                           [this](int from, runtime::Parcel parcel) {
                                             mover->received(from, std::move(parcel));
                                           },
                                       .lost = {}});
  }

  runtime::StateArena arena;
  std::unique_ptr<Mover> mover;
  std::unique_ptr<runtime::DataPlane> plane;
};

class MoverTest : public testing::Test {
 protected:
  MoverTest()
      : recipe_(recipe_with_ema()), arena_(kernels::parameters(recipe_.shape), state_format(recipe_)),
        three_(spread_plan({{1, 1, 3, 2, 1, 3}, 3, 1}, recipe_)), two_(spread_plan({{1, 1, 2, 2, 1, 2}, 2, 1}, recipe_)),
        before_(three_, recipe_.shape, arena_), after_(two_, recipe_.shape, arena_) {}

  /// Process 1 of three leaves: processes 0 and 2, and behind them 1.
  Moves moves() const {
    const std::vector<Holder> holders{{&before_, 0}, {&before_, 2}, {&before_, 1}};
    return make_moves(holders, after_, arena_);
  }

  const Recipe recipe_;
  const runtime::StateArena arena_;
  const config::Plan three_, two_;
  const Placement before_, after_;
};

TEST_F(MoverTest, BringsEveryBlockToWhoIsToHaveIt) {
  const Moves all = moves();
  std::vector<std::unique_ptr<Standing>> processes;
  const int old[] = {0, 2, 1};
  for (int p = 0; p < 3; ++p) {
    processes.push_back(std::make_unique<Standing>(recipe_));
    processes.back()->fill(before_, old[p]);
    processes.back()->stand(all, p);
  }
  for (size_t a = 0; a < 3; ++a) {
    for (size_t b = 0; b < 3; ++b) {
      if (a != b) processes[a]->plane->connect(static_cast<int>(b), processes[b]->plane->address());
    }
  }

  for (const auto& one : processes) one->mover->send(*one->plane);
  for (const auto& one : processes) EXPECT_TRUE(one->mover->take(0ms));

  for (int p = 0; p < 2; ++p) processes[static_cast<size_t>(p)]->expect(after_, p);
  uint64_t bytes = 0;
  for (const auto& one : processes) bytes += one->plane->counters().tensor_bytes_sent;
  EXPECT_EQ(bytes, static_cast<uint64_t>(all.moved_bytes)) << "what is not lacked does not travel";
}

TEST_F(MoverTest, WaitsForThoseWhoHaveYetToSendUnlessOneIsGone) {
  Standing one(recipe_);
  one.fill(before_, 0);
  const Moves all = moves();
  ASSERT_TRUE(all.find(2, 0) || all.find(1, 0));
  one.stand(all, 0);

  EXPECT_FALSE(one.mover->take(0ms));
  for (const int other : {1, 2}) one.mover->lose(other, "process 9 (here): it was killed");
  try {
    one.mover->take(0ms);
    FAIL() << "it waits for who is gone";
  } catch (const runtime::ClusterError& error) {
    EXPECT_THAT(error.what(), HasSubstr("who had yet to send blocks is gone: process 9 (here): it was killed"));
  }
}

TEST_F(MoverTest, TakesNothingThatItHasNotAskedFor) {
  Standing one(recipe_);
  one.stand(moves(), 0);
  wire::BlockLetter letter;
  letter.set_state(state + 1);

  one.mover->received(1, {letter.SerializeAsString(), {}});
  EXPECT_THROW(one.mover->take(0ms), runtime::ClusterError) << "of another state";
  one.mover->received(1, {"no letter", {}});
  EXPECT_THROW(one.mover->take(0ms), runtime::ClusterError);
}

}  // namespace
}  // namespace troupe::tests
