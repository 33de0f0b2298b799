// A run that pauses to go on with other processes: where, and that nothing is saved for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/control/run_core.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {
namespace {

using namespace actors;

template <class T>
const T* first(const std::vector<Wanted>& all) {
  for (const Wanted& one : all) {
    if (const T* found = std::get_if<T>(&one)) return found;
  }
  return nullptr;
}

/// A run with one crew and one block, and a checkpointer.
class RunPause : public testing::Test {
 protected:
  RunPause() { recipe_.steps = 1000; }

  void open(int64_t checkpoint_every) {
    core_ = std::make_unique<RunCore>(RunCore::Args{
        .recipe = &recipe_,
        .options = {.hash_every = 0, .eval_every = 0, .checkpoint_every = checkpoint_every},
        .bias = {std::vector<float>(static_cast<size_t>(recipe_.moe_layers() * recipe_.shape.experts)), 0},
        .from = std::make_shared<const ResumePoint>(from_),
        .blocks = 1,
        .has_checkpointer = checkpoint_every > 0,
        .state_hash = [](const auto&, auto) { return 1; }});
    const auto standing = first_of<wanted::Standing>(core_->hear(heard::Run{}));
    wanted_ = core_->hear(heard::Standing{standing.generation, std::nullopt, false});
  }
  template <class T>
  static T first_of(const std::vector<Wanted>& all) {
    const T* found = first<T>(all);
    EXPECT_NE(found, nullptr);
    return found ? *found : T{};
  }
  /// Plays the step that is wanted; `wanted_` is what follows. False: there is none.
  bool step() {
    const auto* compute = first<wanted::Compute>(wanted_);
    if (!compute) return false;
    const auto prepare = first_of<wanted::Prepare>(core_->hear(heard::Collected{compute->generation, {}}));
    wire::Prepared prepared;
    prepared.add_blocks(0);
    prepared.add_squared_norms(1);
    const auto append = first_of<wanted::Append>(core_->hear(heard::Prepared{prepare.generation, prepared}));
    committed_ = append.record;
    const auto apply = first_of<wanted::Apply>(core_->hear(heard::Durable{append.generation}));
    wire::Applied applied;
    applied.add_blocks(0);
    wanted_ = core_->hear(heard::Applied{apply.generation, applied});
    if (const auto* save = first<wanted::Save>(wanted_)) {
      ++saves_;
      saved_ = committed_.step();
      wanted_ = core_->hear(heard::Copied{save->generation});
    }
    return true;
  }
  bool has_ended_well() const {
    const auto* end = first<wanted::End>(wanted_);
    return end && end->code == runtime::Errc::ok;
  }

  Recipe recipe_ = small_recipe();
  ResumePoint from_;
  std::unique_ptr<RunCore> core_;
  std::vector<Wanted> wanted_;
  wire::StepRecord committed_;
  int saves_ = 0;
  uint64_t saved_ = 0;  // the last state
};

TEST_F(RunPause, ComesBehindTheStepUnderWayWithoutACheckpoint) {
  open(100);
  ASSERT_TRUE(step());
  core_->hear(heard::Pause{});

  ASSERT_TRUE(step());

  EXPECT_TRUE(has_ended_well());
  EXPECT_EQ(committed_.step(), 2u);
  EXPECT_EQ(saves_, 0);
}

TEST_F(RunPause, LetsStepsGoOnWhileACheckpointIsWritten) {
  open(5);
  core_->hear(heard::Pause{});
  ASSERT_TRUE(step());
  EXPECT_TRUE(has_ended_well()) << "none is being written yet";

  open(5);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(step());  // a checkpoint is begun
  EXPECT_EQ(saves_, 1);
  core_->hear(heard::Pause{});
  ASSERT_TRUE(step());
  ASSERT_TRUE(step());
  EXPECT_FALSE(has_ended_well());
  core_->hear(heard::Saved{saved_});
  ASSERT_TRUE(step());
  EXPECT_TRUE(has_ended_well());
}

TEST_F(RunPause, WaitsForACheckpointThatIsAlwaysBeingWritten) {
  open(1);
  core_->hear(heard::Pause{});
  int steps = 0;
  while (step()) ++steps;

  EXPECT_EQ(steps, most_steps_to_pause + 1);
  EXPECT_FALSE(has_ended_well()) << "what is written now is written to its end";
  wanted_ = core_->hear(heard::Saved{saved_});
  EXPECT_TRUE(has_ended_well());
}

TEST_F(RunPause, ComesBehindTheReplayOfWhatTheJournalHas) {
  open(0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(step());
    from_.commits.push_back(committed_);
  }
  open(0);  // from state 0
  core_->hear(heard::Pause{});

  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(has_ended_well());
    ASSERT_TRUE(step());
  }
  EXPECT_TRUE(has_ended_well());
}

}  // namespace
}  // namespace troupe::tests
