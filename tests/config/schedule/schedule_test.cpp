#include "config/schedule/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/config/fixtures.h"
#include "tests/config/schedule/lists.h"

namespace troupe::config {
namespace {

using Kind = Operation::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Parallel::Schedule every_kind[] = {Parallel::ONE_F_ONE_B, Parallel::ZERO_BUBBLE,
                                             Parallel::DUALPIPE, Parallel::DUALPIPE_V,
                                             Parallel::COMBINED_ONE_F_ONE_B};

TEST(OneFOneB, TheFirstOfThreeStagesRunsTwoAhead) {
  const std::vector<int> mine{0, 2, 4, 6};

  const PipelineLists lists = make_lists({Parallel::ONE_F_ONE_B, 3, mine});

  EXPECT_EQ(notation(lists.of(0)), "F0 F2 F4 B0 F6 B2 B4 B6");
  EXPECT_EQ(notation(lists.of(2)), "F0 B0 F2 B2 F4 B4 F6 B6");
}

TEST(ZeroBubble, AStageIsAsManyMicroBatchesLateWithItsWeights) {
  const auto mine = first_micro_batches(4);

  const PipelineLists lists = make_lists({Parallel::ZERO_BUBBLE, 3, mine});

  EXPECT_EQ(notation(lists.of(0)), "F0 F1 F2 I0 W0 F3 I1 W1 I2 W2 I3 W3");
  EXPECT_EQ(notation(lists.of(2)), "F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3");
}

TEST(CombinedOneFOneB, ABackwardIsBesideAForwardInASingleStageToo) {
  const auto mine = first_micro_batches(6);

  const PipelineLists one = make_lists({Parallel::COMBINED_ONE_F_ONE_B, 1, first_micro_batches(4)});
  const PipelineLists three = make_lists({Parallel::COMBINED_ONE_F_ONE_B, 3, mine});

  EXPECT_EQ(notation(one.of(0)), "F0 F1&B0 F2&B1 F3&B2 B3");
  EXPECT_EQ(notation(three.of(0)), "F0 F1 F2 F3 F4 F5&B0 B1 B2 B3 B4 B5");
  EXPECT_EQ(notation(three.of(1)), "F0 F1 F2 F3&B0 F4&B1 F5&B2 B3 B4 B5");
  EXPECT_EQ(notation(three.of(2)), "F0 F1&B0 F2&B1 F3&B2 F4&B3 F5&B4 B5");
  EXPECT_EQ(notation(make_lists({Parallel::COMBINED_ONE_F_ONE_B, 1, first_micro_batches(1)}).of(0)), "F0 B0");
}

TEST(DualPipe, HalfOfTheMicroBatchesGoesUpTheRanksAndHalfDown) {
  const auto mine = first_micro_batches(8);

  const PipelineLists lists = make_lists({Parallel::DUALPIPE, 4, mine});

  EXPECT_EQ(lists.ranks(), 4);
  for (int stage = 0; stage < 4; ++stage) {
    EXPECT_EQ(lists.rank_of(stage, 3), stage);
    EXPECT_EQ(lists.rank_of(stage, 4), 3 - stage);
  }
  EXPECT_THAT(stages_of_rank(Parallel::DUALPIPE, 4, 3), ElementsAre(0, 3));
}

TEST(DualPipeV, AMicroBatchGoesUpTheRanksAndBack) {
  const auto mine = first_micro_batches(5);

  const PipelineLists lists = make_lists({Parallel::DUALPIPE_V, 4, mine});

  EXPECT_EQ(lists.ranks(), 2);
  EXPECT_EQ(lists.rank_of(0, 4), 0);
  EXPECT_EQ(lists.rank_of(1, 4), 1);
  EXPECT_EQ(lists.rank_of(2, 4), 1);
  EXPECT_EQ(lists.rank_of(3, 4), 0);
}

bool is_backward(Kind kind) { return kind == Kind::backward || kind == Kind::backward_input; }

/// Plays all ranks at once, in turns; true if every list comes to its end.
bool plays_to_the_end(const PipelineLists& lists, int stages) {
  std::set<std::tuple<char, int, int>> done;  // kind, stage, micro-batch
  const auto is_ready = [&](const Operation& o) {
    if (o.kind == Kind::forward)
      return o.stage == 0 || done.contains({'F', o.stage - 1, o.micro_batch});
    if (!is_backward(o.kind)) return done.contains({'B', o.stage, o.micro_batch});
    return done.contains({'F', o.stage, o.micro_batch}) &&
           (o.stage + 1 == stages || done.contains({'B', o.stage + 1, o.micro_batch}));
  };
  std::vector<size_t> next(static_cast<size_t>(lists.ranks()), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (int rank = 0; rank < lists.ranks(); ++rank) {
      const auto& list = lists.of(rank);
      size_t& at = next[static_cast<size_t>(rank)];
      if (at == list.size()) continue;
      // What is played side by side begins when both are ready.
      const size_t count = list[at].is_beside_next ? 2 : 1;
      const std::span<const Operation> begun(list.data() + at, count);
      if (!std::ranges::all_of(begun, is_ready)) continue;
      for (const Operation& o : begun) {
        if (o.kind == Kind::forward) done.insert({'F', o.stage, o.micro_batch});
        if (is_backward(o.kind)) done.insert({'B', o.stage, o.micro_batch});
      }
      at += count;
      moved = true;
    }
  }
  for (int rank = 0; rank < lists.ranks(); ++rank) {
    if (next[static_cast<size_t>(rank)] != lists.of(rank).size()) return false;
  }
  return true;
}

/// How often each (kind, stage, micro-batch) is in the lists; backward counts as both its parts.
std::map<std::tuple<Kind, int, int>, int> counts_of(const PipelineLists& lists) {
  std::map<std::tuple<Kind, int, int>, int> counts;
  for (int rank = 0; rank < lists.ranks(); ++rank) {
    for (const Operation& o : lists.of(rank)) {
      if (o.kind == Kind::backward) {
        ++counts[{Kind::backward_input, o.stage, o.micro_batch}];
        ++counts[{Kind::backward_weight, o.stage, o.micro_batch}];
      } else {
        ++counts[{o.kind, o.stage, o.micro_batch}];
      }
    }
  }
  return counts;
}

void expect_whole_and_playable(const PipelineLists& lists, const ScheduleArgs& args) {
  const auto n = args.micro_batches.size();
  const auto counts = counts_of(lists);
  EXPECT_EQ(counts.size(), 3 * n * static_cast<size_t>(args.stages));
  for (const auto& [operation, count] : counts) EXPECT_EQ(count, 1);
  EXPECT_TRUE(plays_to_the_end(lists, args.stages));
  for (int rank = 0; rank < lists.ranks(); ++rank) {
    for (const Operation& o : lists.of(rank)) {
      EXPECT_THAT(stages_of_rank(args.kind, args.stages, rank), testing::Contains(o.stage));
    }
  }
}

TEST(Schedules, DoEverythingOnceAndNeverWaitInACircle) {
  int played = 0;
  for (const auto kind : every_kind) {
    for (int stages = 1; stages <= 12; ++stages) {
      for (int n = 0; n <= 30; ++n) {
        const auto numbers = first_micro_batches(n);
        const ScheduleArgs args{kind, stages, numbers};
        SCOPED_TRACE(Parallel::Schedule_Name(kind) + ", stages " + std::to_string(stages) +
                     ", micro-batches " + std::to_string(n));
        if (kind == Parallel::DUALPIPE_V && stages % 2 != 0) continue;
        expect_whole_and_playable(lists_of_step(args), args);
        if (testing::Test::HasFailure()) return;
        if (objection_to(args)) continue;
        expect_whole_and_playable(make_lists(args), args);
        ++played;
      }
    }
  }
  EXPECT_GT(played, 800);
}

// Report, table 2: PP, PP, PP+1, PP+1; of the combined one 2 PP. Weights included: what a
// backward_weight waits for is kept.
TEST(Schedules, KeepActivationsOfNoMoreMicroBatchesThanTheReportSays) {
  for (const auto kind : every_kind) {
    for (const int stages : {4, 8, 16}) {
      for (const int n : {2 * stages, 2 * stages + 2, 5 * stages}) {
        const auto numbers = first_micro_batches(n);
        const PipelineLists lists = make_lists({kind, stages, numbers});
        int largest = 0;
        for (int rank = 0; rank < lists.ranks(); ++rank) {
          largest = std::max(largest, largest_live(lists.of(rank)));
        }
        const bool is_dual = kind == Parallel::DUALPIPE || kind == Parallel::DUALPIPE_V;
        const int wanted = kind == Parallel::COMBINED_ONE_F_ONE_B ? 2 * stages : stages + (is_dual ? 1 : 0);

        EXPECT_EQ(largest, wanted) << Parallel::Schedule_Name(kind);
      }
    }
  }
}

TEST(Schedules, PairAForwardWithAWholeBackward) {
  const auto numbers = first_micro_batches(20);
  int pairs = 0;
  for (const auto kind : {Parallel::DUALPIPE, Parallel::DUALPIPE_V, Parallel::COMBINED_ONE_F_ONE_B}) {
    const PipelineLists lists = make_lists({kind, 8, numbers});
    for (int rank = 0; rank < lists.ranks(); ++rank) {
      const auto& list = lists.of(rank);
      for (size_t i = 0; i < list.size(); ++i) {
        if (!list[i].is_beside_next) continue;
        ASSERT_LT(i + 1, list.size());
        EXPECT_EQ(list[i].kind, Kind::forward);
        EXPECT_EQ(list[i + 1].kind, Kind::backward);
        EXPECT_FALSE(list[i].stage == list[i + 1].stage && list[i].micro_batch == list[i + 1].micro_batch);
        EXPECT_FALSE(list[i + 1].is_beside_next);
        ++pairs;
      }
    }
  }
  EXPECT_GT(pairs, 100);
}

std::string error_with(Parallel::Schedule kind, int stages, int n) {
  const auto numbers = first_micro_batches(n);
  return error_of([&] { make_lists({kind, stages, numbers}); });
}

TEST(Schedules, AreRefusedWithTheReason) {
  EXPECT_EQ(error_with(Parallel::DUALPIPE, 3, 12),
            "parallel.schedule: found DUALPIPE with 3 stages, wanted an even number of stages");
  EXPECT_EQ(error_with(Parallel::DUALPIPE, 4, 9),
            "parallel.schedule: found DUALPIPE with 9 micro-batches of a data worker, wanted an "
            "even number of at least 2 x 4 ranks = 8");
  EXPECT_THAT(error_with(Parallel::DUALPIPE, 4, 6), HasSubstr("found DUALPIPE with 6 micro-"));
  EXPECT_THAT(error_with(Parallel::DUALPIPE_V, 4, 3),
              HasSubstr("a number of at least 2 x 2 ranks"));
  EXPECT_THAT(error_with(Parallel::DUALPIPE_V, 1, 3), HasSubstr("found DUALPIPE_V with 1 stage, "));
  EXPECT_THAT(error_with(Parallel::ZERO_BUBBLE, 0, 3),
              HasSubstr("found 0 stages, wanted at least 1"));
  EXPECT_EQ(error_with(Parallel::DUALPIPE, 4, 8), "");
  EXPECT_EQ(error_with(Parallel::DUALPIPE_V, 4, 5), "");
}

// A step of a ramp may be smaller than its run's schedule wants.
TEST(ListsOfStep, PlayASmallStepOnTheRanksOfTheSchedule) {
  const auto numbers = first_micro_batches(2);

  const PipelineLists dual = lists_of_step({Parallel::DUALPIPE, 4, numbers});
  const PipelineLists v = lists_of_step({Parallel::DUALPIPE_V, 4, numbers});

  EXPECT_EQ(notation(dual.of(1), true), "F0@1 F1@1 I0@1 I1@1 W0@1 W1@1");
  EXPECT_EQ(notation(v.of(1), true), "F0@1 F1@1 F0@2 F1@2 B0@2 B1@2 B0@1 B1@1");
  EXPECT_THAT(error_of([&] {
                lists_of_step({Parallel::DUALPIPE_V, 3, numbers});
              }),
              HasSubstr("an even number of stages"));
}

TEST(NearestPlayable, IsTheScheduleItselfOrZeroBubbleWithTheReason) {
  const auto numbers = first_micro_batches(9);

  const NearestSchedule same = nearest_playable({Parallel::DUALPIPE_V, 8, numbers});
  const NearestSchedule other = nearest_playable({Parallel::DUALPIPE, 4, numbers});

  EXPECT_EQ(same.kind, Parallel::DUALPIPE_V);
  EXPECT_EQ(same.reason, "");
  EXPECT_EQ(other.kind, Parallel::ZERO_BUBBLE);
  EXPECT_EQ(other.reason,
            "DUALPIPE with 9 micro-batches of a data worker, wanted an even number of at least 2 x "
            "4 ranks = 8");
}

TEST(PipelineLists, RefusesAMicroBatchThatIsNotThere) {
  const auto numbers = first_micro_batches(2);
  const PipelineLists lists = make_lists({Parallel::ONE_F_ONE_B, 2, numbers});

  EXPECT_EQ(error_of([&] { lists.rank_of(1, 2); }),
            "micro-batch: found 2, wanted one that passes stage 1");
}

}  // namespace
}  // namespace troupe::config
