// Laws 3 and 4 under random crashes: whatever dies at whatever moment, the journal, the hashes and
// the final state are those of the quiet run, and the run comes to an end.
#include "actors/control/run_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/actors/control/run_world.h"

namespace troupe::tests {
namespace {

using namespace actors;

std::string commits_of(const Disk& disk) {
  std::string all;
  for (wire::StepRecord record : disk.commits) {
    record.clear_epoch();
    all += record.SerializeAsString();
  }
  return all;
}

class RunCoreModel : public testing::Test {
 protected:
  static constexpr int64_t steps_ = 6;

  RunCoreModel() { quiet_.play(); }

  /// How many failures there were.
  int expect_the_quiet_run(int rounds, Storm storm) {
    int failures = 0;
    for (int round = 0; round < rounds; ++round) {
      storm.write_deeds = round % 2 * 60;  // the last checkpoint may be due while one is being written
      World world(static_cast<uint64_t>(round), storm, steps_);
      EXPECT_NO_THROW(world.play()) << "seed " << round;
      if (HasFailure()) break;
      failures += world.failures();
      EXPECT_EQ(commits_of(world.disk()), commits_of(quiet_.disk())) << "seed " << round;
      EXPECT_EQ(world.final_blocks(), quiet_.final_blocks()) << "seed " << round;
      // The run does not end before its last state is saved.
      EXPECT_TRUE(world.disk().checkpoints.contains(steps_)) << "seed " << round;
      // A hash is journaled after its commit: a process may die in between, and never makes it again.
      if (storm.process_deaths == 0) {
        EXPECT_EQ(world.disk().hashes, quiet_.disk().hashes) << "seed " << round;
      }
      EXPECT_TRUE(std::includes(quiet_.disk().hashes.begin(), quiet_.disk().hashes.end(),
                                world.disk().hashes.begin(), world.disk().hashes.end()))
          << "seed " << round;
      if (HasFailure()) break;
    }
    return failures;
  }

  World quiet_{1, {}, steps_};
};

TEST_F(RunCoreModel, TheQuietRunCommitsEveryStepAndSavesEverySecond) {
  EXPECT_EQ(quiet_.disk().commits.size(), 6u);
  EXPECT_EQ(quiet_.disk().checkpoints.size(), 3u);
  EXPECT_EQ(quiet_.announced(), quiet_.disk().hashes);
  EXPECT_EQ(quiet_.disk().commits.back().trend().losses(), 6u);
  EXPECT_GT(quiet_.disk().commits.back().trend().spikes(), 0u);
}

TEST_F(RunCoreModel, AnyScheduleOfAQuietRunHasItsBits) { expect_the_quiet_run(300, {}); }

TEST_F(RunCoreModel, KillsOfAnyActorsChangeNothing) {
  EXPECT_GT(expect_the_quiet_run(4000, {.kills = 6}), 40'000);
}

TEST_F(RunCoreModel, DeadlinesThatPassTooEarlyChangeNothing) {
  EXPECT_GT(expect_the_quiet_run(2000, {.kills = 2, .lates = 6}), 10'000);
}

TEST_F(RunCoreModel, DeathsOfTheProcessChangeNothing) {
  EXPECT_GT(expect_the_quiet_run(3000, {.kills = 3, .lates = 2, .process_deaths = 1}), 10'000);
}

}  // namespace
}  // namespace troupe::tests
