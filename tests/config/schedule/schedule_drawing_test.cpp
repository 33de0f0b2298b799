#include "config/schedule/schedule_drawing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/config/fixtures.h"
#include "tests/config/schedule/lists.h"

namespace troupe::config {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string draw(Parallel::Schedule kind, int stages, int micro_batches, const std::string& title) {
  const auto numbers = first_micro_batches(micro_batches);
  const PipelineLists lists = make_lists({kind, stages, numbers});
  return draw_schedule({.title = title,
                        .time_unit = "",
                        .lists = lists,
                        .played = simulate(lists, unit_costs(stages))});
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(DrawSchedule, HasARowForEachRankAndABoxForEachOperation) {
  const std::string svg = draw(Parallel::ONE_F_ONE_B, 3, 4, "1F1B");

  EXPECT_THAT(svg, HasSubstr(">rank 2<"));
  EXPECT_THAT(svg, Not(HasSubstr(">rank 3<")));
  EXPECT_EQ(count(svg, "rx="), 3u * 4 * 2 + 2) << "two are of the legend";
  EXPECT_THAT(svg, HasSubstr(">idle 6, 3 live<"));
}

TEST(DrawSchedule, TellsTheTwoStagesOfARankApart) {
  const std::string svg = draw(Parallel::DUALPIPE, 4, 8, "DualPipe");

  EXPECT_THAT(svg, HasSubstr(">stages 1, 2<"));
  EXPECT_THAT(svg, HasSubstr("light: its upper one"));
  EXPECT_THAT(svg, HasSubstr("height=\"14.00\"")) << "half a row of each pair";
  EXPECT_THAT(draw(Parallel::ZERO_BUBBLE, 4, 8, "ZB1P"), Not(HasSubstr("upper one")));
}

TEST(DrawSchedule, DrawsTheTimelineOfTheReadme) {
  std::ifstream file(source_file("config/schedule/dualpipe.svg"));
  std::stringstream text;
  text << file.rdbuf();

  EXPECT_EQ(text.str(), draw(Parallel::DUALPIPE, 8, 20, "DualPipe: 8 stages, 20 micro-batches"));
}

/// One step as it was played, above another that takes twice as long.
std::string draw_two(std::vector<std::vector<WaitingTime>> waiting) {
  const auto numbers = first_micro_batches(4);
  const PipelineLists lists = make_lists({Parallel::ONE_F_ONE_B, 2, numbers});
  ScheduleCosts slow = unit_costs(2);
  for (StageCosts& stage : slow.stages) stage = {.forward = 2, .backward = 4, .backward_weight = 2};
  const PlayedSchedule above = simulate(lists, unit_costs(2)), below = simulate(lists, slow);
  return draw_timelines({.title = "two",
                         .time_unit = "milliseconds",
                         .timelines = {{.heading = "one", .lists = lists, .played = above, .waiting = waiting},
                                       {.heading = "other", .lists = lists, .played = below, .waiting = {}}}});
}

TEST(DrawTimelines, HaveOneScaleOfTimeAndTheirHeadings) {
  const std::string svg = draw_two({});

  EXPECT_LT(svg.find(">one<"), svg.find(">other<"));
  EXPECT_EQ(count(svg, ">rank 1<"), 2u);
  EXPECT_EQ(count(svg, "rx="), 2u * 2 * 4 * 2 + 2) << "two are of the legend";
  EXPECT_EQ(count(svg, "width=\"550.0\" height=\"28.0\" fill=\"#f1f1f1\""), 2u) << "half of the time, half as wide";
  EXPECT_EQ(count(svg, "width=\"1100.0\" height=\"28.0\" fill=\"#f1f1f1\""), 2u);
  EXPECT_EQ(count(svg, "fill=\"#3f78c4\""), 2u * 2 * 4 + 1);
}

TEST(DrawTimelines, ShowWhereARankWaitsForAnotherProcess) {
  EXPECT_THAT(draw_two({}), Not(HasSubstr("waits for another process")));

  const std::string svg = draw_two({{}, {{.begin = 0, .end = 1}}});

  EXPECT_THAT(svg, HasSubstr(">waits for another process<"));
  EXPECT_EQ(count(svg, "fill=\"#f3b8b5\""), 1u + 1) << "one is of the legend";
}

TEST(DrawSchedule, EscapesWhatXmlWouldRead) {
  EXPECT_THAT(draw(Parallel::ONE_F_ONE_B, 1, 1, "F&B < 3"), HasSubstr(">F&amp;B &lt; 3<"));
}

}  // namespace
}  // namespace troupe::config
