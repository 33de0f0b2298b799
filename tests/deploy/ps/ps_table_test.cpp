#include "deploy/ps/ps_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace troupe::tests {
namespace {

using namespace runtime;
using deploy::ps_table;
using deploy::short_time;
using testing::HasSubstr;
using testing::Not;

GlassView sample() {
  CellView top;
  top.name = "company";
  top.state = CellState::idle;
  top.life_ns = 10'000'000'000;
  CellView stage;
  stage.name = "stage/0";
  stage.parent = "company";
  stage.incarnation = 2;
  stage.restarts = 1;
  stage.state = CellState::waiting;
  stage.mailbox = 12;
  stage.parked = 3;
  stage.messages = 4000;
  stage.step = 7;
  stage.life_ns = 10'000'000'000;
  stage.busy_ns = 2'500'000'000;
  stage.message = "forward";
  stage.unit = {.step = 7, .micro_batch = 3, .layer = 2};
  stage.message_ns = 1'500'000;
  stage.waits_for = "rows";
  stage.wait_detail = 4;
  stage.wait_ns = 900'000;
  CellView dead = stage;
  dead.incarnation = 1;
  dead.is_dead = true;
  dead.state = CellState::dead;
  dead.message.clear();
  dead.waits_for.clear();
  dead.end_reason = "exception";
  dead.last_error = "kernel: bad shape";
  GlassView view;
  view.pid = 4711;
  view.process = ProcessState::stopped;
  view.run_folder = "/runs/first";
  view.cells = {top, stage, dead};
  return view;
}

std::string table(const GlassView& view, bool is_coloured = false, int columns = 0) {
  return ps_table({.view = view,
                   .before = nullptr,
                   .seconds = 0,
                   .is_all = false,
                   .is_coloured = is_coloured,
                   .columns = columns});
}

TEST(PsTable, ShowsTheProcessAndEveryActor) {
  EXPECT_EQ(table(sample()),
            R"(process 4711  stopped  /runs/first  actors 2  dead 1
NAME       STATE    MAILBOX  PARKED  MESSAGES  BUSY  NOW                  SINCE  WAITS FOR         STEP  RESTARTS  LAST ERROR
company    idle           0       0         0    0%                                                   -         0
  stage/0  waiting       12       3      4000   25%  forward 7.3 layer 2    1ms  rows 4 for 900us     7         1
  stage/0  dead          12       3      4000   25%                                                   7         1  exception: kernel: bad shape
)");
}

TEST(PsTable, AnEarlierLookGivesRates) {
  GlassView before = sample(), now = sample();
  now.cells[1].messages += 500;
  now.cells[1].busy_ns += 1'000'000'000;
  now.cells[1].life_ns += 2'000'000'000;

  const std::string text = ps_table({.view = now,
                                     .before = &before,
                                     .seconds = 2,
                                     .is_all = false,
                                     .is_coloured = false,
                                     .columns = 0});

  EXPECT_THAT(text, HasSubstr("MESSAGES  MSG/S  BUSY"));
  EXPECT_THAT(text, HasSubstr("    4500    250   50%"));
}

TEST(PsTable, AnotherLifeInTheSameCellHasNoRate) {
  GlassView before = sample();
  before.cells[1].incarnation = 1;
  before.cells[1].messages = 1;

  const std::string text = ps_table({.view = sample(),
                                     .before = &before,
                                     .seconds = 1,
                                     .is_all = false,
                                     .is_coloured = false,
                                     .columns = 0});

  EXPECT_THAT(text, HasSubstr("\n  stage/0  waiting       12       3      4000          25%"));
  EXPECT_THAT(text, Not(HasSubstr("3999")));
}

TEST(PsTable, TheDeadAreGreyAndLinesAreCutToTheTerminal) {
  const std::string text = table(sample(), true, 30);

  EXPECT_THAT(text, HasSubstr("\n  stage/0  waiting       12   \n"));
  EXPECT_THAT(text, HasSubstr("\n\x1b[90m  stage/0  dead          12   \x1b[0m\n"));
}

TEST(PsTable, WidthsAreThoseOfCharacters) {
  GlassView view = sample();
  view.cells[0].name = "\xc3\xa9\xc3\xa9";

  EXPECT_THAT(table(view), HasSubstr("\n\xc3\xa9\xc3\xa9       idle"));
}

TEST(PsTable, JsonHasEverything) {
  const auto json = deploy::ps_json(sample());

  EXPECT_EQ(json["pid"], 4711);
  EXPECT_EQ(json["state"], "stopped");
  EXPECT_EQ(json["actors"].size(), 3u);
  EXPECT_EQ(json["actors"][0]["message"], nullptr);
  EXPECT_EQ(json["actors"][1]["message"]["what"], "forward");
  EXPECT_EQ(json["actors"][1]["message"]["layer"], 2);
  EXPECT_EQ(json["actors"][1]["waits_for"]["detail"], 4);
  EXPECT_EQ(json["actors"][1]["mailbox"], 12);
  EXPECT_EQ(json["actors"][1]["end"], nullptr);
  EXPECT_EQ(json["actors"][2]["end"]["reason"], "exception");
}

TEST(PsTable, TimesAreShort) {
  EXPECT_EQ(short_time(0), "0us");
  EXPECT_EQ(short_time(999'999), "999us");
  EXPECT_EQ(short_time(1'000'000), "1ms");
  EXPECT_EQ(short_time(3'250'000'000), "3.2s");
  EXPECT_EQ(short_time(245'000'000'000), "4m05s");
  EXPECT_EQ(short_time(7'380'000'000'000), "2h03m");
  EXPECT_EQ(short_time(~uint64_t{0}), "213503d23h");
}

}  // namespace
}  // namespace troupe::tests
