#include "deploy/trace/measured_schedule.h"

#include <gtest/gtest.h>

#include "tests/deploy/trace/made_trace.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using config::Parallel;

MadeTrace made_of(Parallel::Schedule schedule, int stages, int micro_batches) {
  MadeTrace made;
  made.schedule = schedule;
  made.stages = stages;
  made.micro_batches = micro_batches;
  return made;
}

// What was played at some costs is measured to have these, and is simulated to take as long.
TEST(MeasuredCosts, AreThoseThatTheStepWasPlayedAt) {
  for (const MadeTrace& made : {made_of(Parallel::ONE_F_ONE_B, 3, 6), made_of(Parallel::ZERO_BUBBLE, 4, 8),
                                made_of(Parallel::DUALPIPE, 4, 10), made_of(Parallel::DUALPIPE_V, 4, 8)}) {
    SCOPED_TRACE(Parallel::Schedule_Name(made.schedule));
    const MergedTrace trace = merge_parts(make_parts(made));
    const config::ScheduleCosts costs = measured_costs(trace);

    ASSERT_EQ(costs.stages.size(), static_cast<size_t>(made.stages));
    for (const config::StageCosts& stage : costs.stages) {
      EXPECT_NEAR(stage.forward, 1, 1e-6);
      EXPECT_NEAR(stage.backward, 2, 1e-6);
    }
    EXPECT_NEAR(costs.beside, 1, 1e-6);
    EXPECT_NEAR(config::simulate(tests::lists_of(made), costs).makespan, played(made).makespan, 1e-4);
  }
}

TEST(MeasuredCosts, ArePerStageMediansThatAnOutlierDoesNotMove) {
  auto parts = make_parts({});
  auto& late = parts[0].part.lists[0].operations.back();
  late.end_ns += 500'000;
  parts[0].part.lists[0].end_ns += 500'000;

  EXPECT_NEAR(measured_costs(merge_parts(parts)).stages[0].backward, 2, 1e-6);
}

TEST(MeasuredCosts, OfAStageThatPlaysPairsAloneAreAThirdAndTwo) {
  runtime::TracedList list;
  list.step = 1;
  list.end_ns = 6'000'000;
  list.operations.resize(2);
  list.operations[0].operation = {config::Operation::Kind::forward, 0, 1, true};
  list.operations[1].operation = {config::Operation::Kind::backward, 0, 0};
  for (auto& each : list.operations) each.end_ns = 6'000'000;
  runtime::TraceOrigin origin;
  origin.schedule = "COMBINED_ONE_F_ONE_B";

  const config::ScheduleCosts costs = measured_costs(merge_parts({{"one.json", {origin, {list}}}}));

  EXPECT_NEAR(costs.stages[0].forward, 2, 1e-9);
  EXPECT_NEAR(costs.stages[0].backward, 4, 1e-9);
  EXPECT_NEAR(costs.beside, 1, 1e-9);
}

TEST(MeasuredSchedule, IsWhatWasPlayed) {
  const MadeTrace made = made_of(Parallel::DUALPIPE, 4, 10);
  const MergedTrace trace = merge_parts(make_parts(made));

  const config::PlayedSchedule measured = measured_schedule(trace, trace.steps[0], 0);

  const config::PlayedSchedule wanted = played(made);
  EXPECT_NEAR(measured.makespan, wanted.makespan, 1e-6);
  for (size_t rank = 0; rank < wanted.ranks.size(); ++rank) {
    EXPECT_NEAR(measured.idle[rank], wanted.idle[rank], 1e-6);
    ASSERT_EQ(measured.ranks[rank].size(), wanted.ranks[rank].size());
    for (size_t i = 0; i < wanted.ranks[rank].size(); ++i) {
      EXPECT_EQ(measured.ranks[rank][i].operation, wanted.ranks[rank][i].operation);
      EXPECT_NEAR(measured.ranks[rank][i].begin, wanted.ranks[rank][i].begin, 1e-6);
    }
  }
}

}  // namespace
}  // namespace troupe::tests
