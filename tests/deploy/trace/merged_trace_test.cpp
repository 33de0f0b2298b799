#include "deploy/trace/merged_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/deploy/trace/made_trace.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string error_of(const std::vector<NamedPart>& parts) {
  try {
    merge_parts(parts);
  } catch (const runtime::TraceError& error) {
    return error.what();
  }
  return "";
}

TEST(MergeParts, HasTheListsOfAllRanksByTheClockOfTheStep) {
  const MergedTrace trace = merge_parts(make_parts({.steps = {2, 3}}));

  ASSERT_EQ(trace.steps.size(), 2u);
  EXPECT_THAT(trace.notes, IsEmpty());
  EXPECT_EQ(trace.steps[1].step, 3);
  EXPECT_EQ(trace.steps[1].length_ns, nanoseconds(played({}).makespan));
  EXPECT_EQ(trace.rank(trace.steps[1], 0, 1).process, 1);
  EXPECT_EQ(trace.rank(trace.steps[1], 0, 1).list.operations[0].begin_ns, nanoseconds(1));
  EXPECT_EQ(deploy::lists_of(trace, trace.steps[0], 0).of(1), tests::lists_of({}).of(1));
}

TEST(MergeParts, OfSeveralMachinesAreComparedByTheTimeOfDay) {
  auto parts = make_parts({});
  parts[1].part.origin.boot = "two";
  parts[1].part.origin.unix_minus_steady_ns = 5'000;
  for (auto& list : parts[1].part.lists) {
    list.begin_ns -= 5'000;
    list.end_ns -= 5'000;
    for (auto& each : list.operations) {
      each.ready_ns -= 5'000;
      each.begin_ns -= 5'000;
      each.end_ns -= 5'000;
    }
  }

  const MergedTrace trace = merge_parts(parts);

  EXPECT_FALSE(trace.has_one_clock);
  EXPECT_THAT(trace.notes, ElementsAre(HasSubstr("time of day")));
  EXPECT_EQ(trace.rank(trace.steps[0], 0, 1).list.operations[0].begin_ns, nanoseconds(1));
}

TEST(MergeParts, OfOneMachineHaveOneClockWhateverTheTimeOfDayDid) {
  auto parts = make_parts({});
  parts[1].part.origin.unix_minus_steady_ns = 5'000;

  EXPECT_THAT(clock_shifts(parts), ElementsAre(0, 0));
}

TEST(MergeParts, LeavesOutAStepThatSomeRankLacks) {
  auto parts = make_parts({.steps = {2, 3}});
  parts[1].part.lists.erase(parts[1].part.lists.begin());

  const MergedTrace trace = merge_parts(parts);

  ASSERT_EQ(trace.steps.size(), 1u);
  EXPECT_EQ(trace.steps[0].step, 3);
  EXPECT_THAT(trace.notes, ElementsAre("step 2 is left out: found no list of worker 0 rank 1"));
}

TEST(MergeParts, RefusesWhatDoesNotGoTogether) {
  auto parts = make_parts({});
  EXPECT_THAT(error_of({}), HasSubstr("no part of a trace"));
  EXPECT_EQ(error_of({parts[0]}), "found 1 of 2 processes (process-0.json) and not worker 0 rank 1 of step 2, wanted "
                                  "a step with the lists of all ranks");
  EXPECT_EQ(error_of({parts[0], {"again.json", parts[0].part}}),
            "again.json: found process 0 again, wanted each once: process-0.json is of it");
  const auto others = make_parts({.schedule = config::Parallel::ZERO_BUBBLE});
  EXPECT_THAT(error_of({parts[0], {"other.json", others[1].part}}),
              HasSubstr("other.json: found ZERO_BUBBLE of 2 stages"));
  parts[1].part.lists[0].rank = 0;
  EXPECT_THAT(error_of(parts), HasSubstr("process-1.json: found worker 0 rank 0 in step 2"));
  parts[0].part.lists.clear();
  parts[1].part.lists.clear();
  EXPECT_THAT(error_of(parts), HasSubstr("not any step"));
}

}  // namespace
}  // namespace troupe::tests
