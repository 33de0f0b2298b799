#include "config/schedule/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/config/fixtures.h"
#include "tests/config/schedule/lists.h"

namespace troupe::config {
namespace {

using Kind = Operation::Kind;
using testing::DoubleNear;
using testing::Each;
using testing::HasSubstr;

PlayedSchedule play(Parallel::Schedule kind, int stages, int micro_batches,
                    const ScheduleCosts& costs) {
  const auto numbers = first_micro_batches(micro_batches);
  return simulate(make_lists({kind, stages, numbers}), costs);
}

PlayedSchedule play(Parallel::Schedule kind, int stages, int micro_batches) {
  return play(kind, stages, micro_batches, unit_costs(stages));
}

// DeepSeek-V3 report, table 2, with F = W = 1, B = 2, F&B = 3.
TEST(Simulate, ShowsTheBubblesOfTheReport) {
  for (const auto& [stages, one_f_one_b, zero_bubble, dual] :
       {std::tuple{4, 9, 3, 2}, {8, 21, 7, 6}, {16, 45, 15, 14}}) {
    const int n = 2 * stages + 4;

    EXPECT_EQ(play(Parallel::ONE_F_ONE_B, stages, n).largest_idle(), one_f_one_b);
    EXPECT_EQ(play(Parallel::ZERO_BUBBLE, stages, n).largest_idle(), zero_bubble);
    EXPECT_EQ(play(Parallel::DUALPIPE, stages, n).largest_idle(), dual);
    EXPECT_EQ(play(Parallel::DUALPIPE_V, stages, n).largest_idle(), dual);
    // A pair that hides nothing: what the other waits for, no more.
    EXPECT_EQ(play(Parallel::COMBINED_ONE_F_ONE_B, stages, n).largest_idle(), one_f_one_b);
  }
}

TEST(Simulate, TakesAsLongAsAnotherSimulationOfDualPipe) {
  EXPECT_EQ(play(Parallel::DUALPIPE, 4, 10).largest_idle(), 2.0);
  EXPECT_EQ(play(Parallel::DUALPIPE, 8, 20).makespan, 66.0);
  EXPECT_EQ(play(Parallel::DUALPIPE, 8, 40).makespan, 126.0);
  EXPECT_EQ(play(Parallel::DUALPIPE, 16, 40).makespan, 134.0);
}

// Bubble (PP/2 - 1)(F&B + B - 3W): what is hidden in a pair shortens it too.
TEST(Simulate, APairThatHidesTransfersShortensTheBubble) {
  const auto with_pair = [](double pair, int stages, int micro_batches) {
    ScheduleCosts costs = unit_costs(stages);
    costs.beside = pair / 3;
    return play(Parallel::DUALPIPE, stages, micro_batches, costs);
  };

  EXPECT_NEAR(with_pair(2.4, 8, 20).makespan, 57.6, 1e-9);
  EXPECT_NEAR(with_pair(2.4, 8, 20).largest_idle(), 4.2, 1e-9);
  EXPECT_NEAR(with_pair(2.7, 8, 20).largest_idle(), 5.1, 1e-9);
  EXPECT_NEAR(with_pair(2.0, 8, 20).largest_idle(), 3.0, 1e-9);
  EXPECT_NEAR(with_pair(2.5, 16, 48).largest_idle(), 10.5, 1e-9);
}

TEST(Simulate, AllRanksOfDualPipeIdleAlikeIfAPairHidesNothing) {
  EXPECT_THAT(play(Parallel::DUALPIPE, 8, 20).idle, Each(6.0));
}

TEST(Simulate, NothingBeginsBeforeWhatItNeedsHasArrived) {
  for (const auto kind :
       {Parallel::ONE_F_ONE_B, Parallel::ZERO_BUBBLE, Parallel::DUALPIPE, Parallel::DUALPIPE_V,
        Parallel::COMBINED_ONE_F_ONE_B}) {
    ScheduleCosts costs = unit_costs(6);
    costs.stages[2] = {.forward = 1.5, .backward = 3.5, .backward_weight = 1.25};
    costs.beside = 0.75;
    costs.transfer = 0.5;
    const PlayedSchedule played = play(kind, 6, 14, costs);
    std::map<std::tuple<char, int, int>, std::pair<double, size_t>> ends;  // with the rank
    for (size_t rank = 0; rank < played.ranks.size(); ++rank) {
      for (const auto& [o, begin, end] : played.ranks[rank]) {
        if (o.kind == Kind::forward) ends[{'F', o.stage, o.micro_batch}] = {end, rank};
        if (o.kind == Kind::backward || o.kind == Kind::backward_input) {
          ends[{'B', o.stage, o.micro_batch}] = {end, rank};
        }
      }
    }
    for (size_t rank = 0; rank < played.ranks.size(); ++rank) {
      double busy = 0;
      for (const auto& [o, begin, end] : played.ranks[rank]) {
        std::tuple<char, int, int> needed{'B', o.stage, o.micro_batch};
        if (o.kind == Kind::forward) needed = {'F', o.stage - 1, o.micro_batch};
        if (o.kind == Kind::backward || o.kind == Kind::backward_input) {
          needed = {o.stage == 5 ? 'F' : 'B', std::min(o.stage + 1, 5), o.micro_batch};
        }
        busy += o.is_beside_next ? 0 : end - begin;
        if (o.kind == Kind::forward && o.stage == 0) continue;
        const auto [ready, from] = ends.at(needed);
        EXPECT_GE(begin, ready + (from == rank ? 0 : 0.5)) << Parallel::Schedule_Name(kind);
      }
      EXPECT_NEAR(played.idle[rank], played.makespan - busy, 1e-9);
    }
  }
}

TEST(Simulate, TransfersDelayAPipelineOfOneMicroBatchByEachWay) {
  ScheduleCosts costs = unit_costs(3);
  costs.transfer = 0.25;

  EXPECT_EQ(play(Parallel::ONE_F_ONE_B, 3, 1, costs).makespan, 3 * 3 + 4 * 0.25);
}

TEST(Simulate, NamesTheOperationThatNeverBegins) {
  const PipelineLists circle({{{Kind::backward, 0, 0}, {Kind::forward, 0, 0}}});

  EXPECT_THAT(error_of([&] { simulate(circle, unit_costs(1)); }),
              HasSubstr("operation 0 of rank 0: found lists that wait for each other"));
}

}  // namespace
}  // namespace troupe::config
