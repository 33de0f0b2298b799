#include "runtime/telemetry/cell_look.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace troupe::tests {
namespace {

using namespace runtime;

/// A cell that changes before every look.
class Moving {
 public:
  explicit Moving(std::function<void(CellSlot&, int)> change) : change_(std::move(change)) {
    cell_.life = 2;
    cell_.began = 5;
    cell_.kind = 3;
    cell_.wait_since = 6;
    cell_.error[0] = 0x61;
  }
  /// What a look makes of it.
  std::unique_ptr<CellSlot> look() {
    auto slot = std::make_unique<CellSlot>();
    const ReadBytes read = [this](uint64_t, void* to, size_t bytes) {
      change_(cell_, ++reads_);
      std::memcpy(to, static_cast<const void*>(&cell_), bytes);
      return true;
    };
    EXPECT_TRUE(look_at_cell(read, 0, *slot));
    return slot;
  }
  int reads() const { return reads_; }

 private:
  const std::function<void(CellSlot&, int)> change_;
  CellSlot cell_{};
  int reads_ = 0;
};

TEST(CellLook, OneThatStandsStillIsCopiedAtOnce) {
  Moving cell([](CellSlot&, int) {});

  const auto slot = cell.look();

  EXPECT_EQ(slot->kind, 3u);
  EXPECT_EQ(slot->wait_since, 6u);
  EXPECT_EQ(slot->error[0], 0x61u);
  EXPECT_EQ(cell.reads(), 3);
}

TEST(CellLook, AMessageThatNeverStandsStillIsNoneAndTheRestIsThere) {
  Moving cell([](CellSlot& c, int) { c.turn += 2; });

  const auto slot = cell.look();

  EXPECT_EQ(slot->began, 0u);
  EXPECT_EQ(slot->kind, 0u);
  EXPECT_EQ(slot->wait_since, 6u);
  EXPECT_EQ(slot->error[0], 0x61u);
}

TEST(CellLook, WhatIsBeingWrittenIsNotShown) {
  Moving cell([](CellSlot& c, int) { c.turn = c.wait_turn = c.error_turn = 7; });

  const auto slot = cell.look();

  EXPECT_EQ(slot->began, 0u);
  EXPECT_EQ(slot->wait_since, 0u);
  EXPECT_EQ(slot->error[0], 0u);
}

// Each stands still at another time.
TEST(CellLook, PartsSettleOneByOne) {
  Moving cell([](CellSlot& c, int read) {
    if (read > 3) {
      c.turn += 2;
      c.kind += 1;
    }
    if (read < 7) c.error_turn += 2;
  });

  const auto slot = cell.look();

  EXPECT_EQ(slot->kind, 3u);
  EXPECT_EQ(slot->error[0], 0x61u);
  EXPECT_EQ(cell.reads(), 9);
}

TEST(CellLook, NothingOfAnEarlierLifeIsKept) {
  Moving cell([](CellSlot& c, int read) {
    if (read < 4) c.error_turn += 2;  // its message settles, its error does not
    if (read == 4) c.life = 4;
    if (read >= 4) c.turn += 2;  // the next life's message never settles
  });

  const auto slot = cell.look();

  EXPECT_EQ(slot->life, 4u);
  EXPECT_EQ(slot->began, 0u);
  EXPECT_EQ(slot->error[0], 0x61u);
}

TEST(CellLook, OneThatChangesHandsAllTheTimeIsOddlyAlive) {
  Moving cell([](CellSlot& c, int) { c.life += 2; });

  EXPECT_EQ(cell.look()->life % 2, 1u);
}

TEST(CellLook, AFileThatEndsIsSaid) {
  CellSlot slot;

  EXPECT_FALSE(look_at_cell([](uint64_t, void*, size_t) { return false; }, 0, slot));
}

}  // namespace
}  // namespace troupe::tests
