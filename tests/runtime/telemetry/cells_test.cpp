#include "runtime/telemetry/cells.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "runtime/telemetry/cell_reader.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

CellIdentity actor(std::string_view name, uint64_t incarnation = 1) {
  return {.role = "stage",
          .name = name,
          .parent = "top",
          .incarnation = incarnation,
          .restarts = static_cast<uint32_t>(incarnation - 1)};
}

class CellsTest : public testing::Test {
 protected:
  CellsTest() : glass_(Glass::create(testing::TempDir())) {}

  std::vector<CellView> views() const { return read_cells(glass_->path()).cells; }
  CellView only() const {
    const auto all = views();
    EXPECT_EQ(all.size(), 1u);
    return all.at(0);
  }

  const std::unique_ptr<Glass> glass_;
};

TEST_F(CellsTest, ANewLifeStartsWithItsIdentityAndNothingElse) {
  glass_->hire(actor("stage/0", 3));

  const CellView view = only();

  EXPECT_EQ(view.role, "stage");
  EXPECT_EQ(view.name, "stage/0");
  EXPECT_EQ(view.parent, "top");
  EXPECT_EQ(view.incarnation, 3u);
  EXPECT_EQ(view.restarts, 2u);
  EXPECT_EQ(view.state, CellState::starting);
  EXPECT_EQ(view.messages + view.mailbox + view.bytes + view.busy_ns + view.step, 0u);
  EXPECT_EQ(view.message + view.waits_for + view.last_error + view.end_reason, "");
  EXPECT_FALSE(view.is_dead);
}

TEST_F(CellsTest, TheMailboxIsWhatHasArrivedAndNotBegun) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  const MessageKind forward = glass_->kind("forward");
  for (int i = 0; i < 5; ++i) cell.arrived();

  cell.begin(forward, {.step = 7, .micro_batch = 3, .layer = -1});
  const CellView during = only();
  cell.end();
  cell.set_state(CellState::idle);
  const CellView after = only();

  EXPECT_EQ(during.mailbox, 4u);
  EXPECT_EQ(during.messages, 0u);
  EXPECT_EQ(during.message, "forward");
  EXPECT_EQ(during.unit.step, 7u);
  EXPECT_EQ(during.unit.micro_batch, 3u);
  EXPECT_EQ(during.unit.layer, -1);
  EXPECT_EQ(during.state, CellState::running);
  EXPECT_EQ(after.mailbox, 4u);
  EXPECT_EQ(after.messages, 1u);
  EXPECT_EQ(after.message, "");
  EXPECT_EQ(after.state, CellState::idle);
}

TEST_F(CellsTest, AHandlerThatThrowsEndsItsTurn) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  cell.arrived();
  try {
    const CellTurn turn(cell, glass_->kind("forward"));
    EXPECT_EQ(only().message, "forward");
    throw std::runtime_error("broken");
  } catch (const std::runtime_error& error) {
    cell.failed(error.what());
  }

  EXPECT_EQ(only().message, "");
  EXPECT_EQ(only().messages, 1u);
  EXPECT_EQ(only().last_error, "broken");
}

TEST_F(CellsTest, BusyTimeAndAgesAreThoseOfTheClock) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  const uint64_t before = steady_ns();
  cell.begin(glass_->kind("forward"));
  const uint64_t begun = steady_ns();
  while (steady_ns() < begun + 20'000'000) {
  }

  const uint64_t until = steady_ns();
  const CellView view = only();
  const uint64_t after = steady_ns();

  EXPECT_GT(view.message_ns, (until - begun) * 9 / 10);
  EXPECT_LT(view.message_ns, (after - before) * 11 / 10);
  EXPECT_EQ(view.busy_ns, view.message_ns);
  EXPECT_GE(view.life_ns, view.busy_ns);
  cell.end();
  EXPECT_GE(only().busy_ns, view.busy_ns);
}

TEST_F(CellsTest, AWaitWithinAMessageIsWhatTheActorIsAt) {
  Cell& cell = *glass_->hire(actor("router/1"));
  const MessageKind forward = glass_->kind("forward"), rows = glass_->kind("rows");
  cell.set_state(CellState::idle);

  cell.waiting_for(rows, 3);
  EXPECT_EQ(only().state, CellState::waiting);
  EXPECT_EQ(only().waits_for, "rows");
  EXPECT_EQ(only().wait_detail, 3u);
  cell.begin(forward);
  EXPECT_EQ(only().state, CellState::running) << "it waits for one thing and works on another";
  cell.waiting_for(rows, 2);
  EXPECT_EQ(only().state, CellState::waiting);
  cell.waits_no_more();
  EXPECT_EQ(only().state, CellState::running);
  EXPECT_EQ(only().waits_for, "");
}

TEST_F(CellsTest, CountersAndTextsShowWhatWasSaid) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  cell.add_bytes(100);
  cell.add_bytes(23);
  cell.parked(5);
  cell.parked(-2);
  cell.set_step(41);
  cell.set_state(CellState::stopping);
  cell.failed("first");
  cell.failed("second");

  const CellView view = only();

  EXPECT_EQ(view.bytes, 123u);
  EXPECT_EQ(view.parked, 3);
  EXPECT_EQ(view.step, 41u);
  EXPECT_EQ(view.state, CellState::stopping);
  EXPECT_EQ(view.last_error, "second");
}

TEST_F(CellsTest, LongTextsAreCutBetweenCharacters) {
  const std::string euros = [] {
    std::string text = "x";
    for (int i = 0; i < 100; ++i) text += "\xe2\x82\xac";
    return text;
  }();
  Cell& cell = *glass_->hire(actor(euros));
  cell.failed(euros);

  // 71 and 103 bytes have room: one, and as many whole characters of three as fit.
  EXPECT_EQ(only().name, euros.substr(0, 1 + 3 * 23));
  EXPECT_EQ(only().last_error, euros.substr(0, 1 + 3 * 34));
}

TEST_F(CellsTest, TheDeadKeepWhatTheySaidAndTheFirstReason) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  cell.failed("kernel: bad shape");
  cell.begin(glass_->kind("backward"));

  cell.ended("exception");
  cell.ended("down");
  cell.set_state(CellState::idle);
  const CellView view = only();

  EXPECT_EQ(view.state, CellState::dead);
  EXPECT_TRUE(view.is_dead);
  EXPECT_EQ(view.end_reason, "exception");
  EXPECT_EQ(view.last_error, "kernel: bad shape");
  EXPECT_EQ(view.message, "backward") << "where it died";
}

TEST_F(CellsTest, ANameHasOneNumberAndTooManyNamesAreOther) {
  EXPECT_EQ(glass_->kind("forward"), glass_->kind("forward"));
  EXPECT_NE(glass_->kind("forward"), glass_->kind("backward"));
  EXPECT_EQ(glass_->kind(""), MessageKind::none);
  EXPECT_EQ(glass_->kind("other"), MessageKind::other);

  const MessageKind forward = glass_->kind("forward");
  for (int i = 0; i < 600; ++i) glass_->kind("kind " + std::to_string(i));

  EXPECT_EQ(glass_->kind("one more"), MessageKind::other);
  EXPECT_EQ(glass_->kind("forward"), forward);
}

TEST_F(CellsTest, TheCellOfTheLongestDeadIsTakenWhenNoneIsFree) {
  std::vector<Cell*> cells;
  for (uint32_t i = 0; i < cell_capacity; ++i) {
    cells.push_back(glass_->hire(actor("stage/" + std::to_string(i))));
  }
  cells[20]->ended("first");
  cells[10]->ended("second");

  glass_->hire(actor("successor/1"));
  glass_->hire(actor("successor/2"));
  const auto all = views();

  ASSERT_EQ(all.size(), cell_capacity);
  EXPECT_EQ(all[20].name, "successor/1");
  EXPECT_EQ(all[10].name, "successor/2");
  EXPECT_FALSE(all[20].is_dead);
  EXPECT_EQ(all[20].end_reason, "");
}

TEST_F(CellsTest, WhoseCellIsUsedAgainWritesNoLongerIntoIt) {
  Cell* first = glass_->hire(actor("stage/0"));
  for (uint32_t i = 1; i < cell_capacity; ++i) glass_->hire(actor("x"));
  first->ended("down");
  glass_->hire(actor("stage/0", 2));

  first->arrived();
  first->failed("late");
  first->set_step(9);
  first->begin(MessageKind::other);
  const CellView view = views().at(0);

  EXPECT_EQ(view.incarnation, 2u);
  EXPECT_EQ(view.mailbox, 0u);
  EXPECT_EQ(view.last_error + view.message, "");
  EXPECT_EQ(view.step, 0u);
}

TEST_F(CellsTest, MoreLivingThanCellsWorkWithoutBeingSeen) {
  for (uint32_t i = 0; i < cell_capacity; ++i) glass_->hire(actor("x"));

  Cell* spare = glass_->hire(actor("spare"));
  spare->arrived();
  spare->begin(MessageKind::other);
  spare->end();
  spare->ended("done");

  EXPECT_EQ(views().size(), cell_capacity);
  EXPECT_EQ(views().at(7).name, "x");
}

TEST_F(CellsTest, NothingIsLostWhenManyThreadsSend) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        cell.arrived();
        cell.add_bytes(2);
        cell.failed("an error that is long enough to be torn");
      }
    });
  }
  for (int i = 0; i < 20'000; ++i) {
    cell.begin(MessageKind::other);
    cell.end();
  }
  for (auto& thread : threads) thread.join();

  EXPECT_EQ(only().mailbox, 40'000u);
  EXPECT_EQ(only().messages, 20'000u);
  EXPECT_EQ(only().bytes, 120'000u);
  EXPECT_EQ(only().last_error, "an error that is long enough to be torn");
}

// What a reader sees of a message is of one message, however fast they follow each other.
TEST_F(CellsTest, AReaderNeverSeesHalfAMessageOrHalfAText) {
  Cell& cell = *glass_->hire(actor("stage/0"));
  const MessageKind kinds[] = {glass_->kind("even"), glass_->kind("odd")};
  const std::string texts[] = {std::string(90, 'e'), std::string(90, 'o')};
  std::atomic<bool> is_over = false;
  std::thread writer([&] {
    for (uint32_t i = 0; !is_over; ++i) {
      cell.begin(kinds[i % 2], {.step = i, .micro_batch = static_cast<uint16_t>(i), .layer = 0});
      for (int pause = 0; pause < 2000; ++pause) asm volatile("");
      cell.end();
      if (i % 64 < 2) cell.failed(texts[i % 2]);
    }
  });

  int seen = 0, broken = 0;
  for (int look = 0; look < 2000; ++look) {
    const CellView view = only();
    if (!view.last_error.empty()) {
      broken += view.last_error != texts[0] && view.last_error != texts[1];
    }
    if (view.message.empty()) continue;
    ++seen;
    broken += view.message != (view.unit.step % 2 == 0 ? "even" : "odd");
    broken += view.unit.micro_batch != static_cast<uint16_t>(view.unit.step);
  }
  is_over = true;
  writer.join();

  EXPECT_GT(seen, 0);
  EXPECT_EQ(broken, 0);
}

}  // namespace
}  // namespace troupe::tests
