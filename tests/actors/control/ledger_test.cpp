#include "actors/control/ledger.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace troupe::tests {
namespace {

using namespace actors;
namespace fs = std::filesystem;

wire::JournalEntry commit_of(uint64_t step, double loss) {
  wire::JournalEntry entry;
  entry.mutable_commit()->set_step(step);
  entry.mutable_commit()->set_loss(loss);
  return entry;
}

wire::JournalEntry hash_of(uint64_t step, uint64_t hash) {
  wire::JournalEntry entry;
  entry.mutable_applied()->set_step(step);
  entry.mutable_applied()->set_hash(hash);
  return entry;
}

// Commit law: the durable record is the commit, and there is one of a step.
TEST(Ledger, KeepsTheFirstRecordOfAStepWhoeverAppendsAgain) {
  const fs::path folder = fs::path(testing::TempDir()) / "ledger_test";
  fs::remove_all(folder);
  Ledger ledger(std::make_unique<runtime::JournalWriter>(folder, runtime::JournalHistory{}, "cpu.1"));

  EXPECT_FALSE(ledger.last_commit());
  EXPECT_TRUE(ledger.append(commit_of(1, 5.0)));
  EXPECT_TRUE(ledger.append(commit_of(1, 6.0)));
  EXPECT_TRUE(ledger.append(hash_of(1, 42)));
  EXPECT_TRUE(ledger.append(hash_of(1, 42)));
  EXPECT_TRUE(ledger.append(commit_of(2, 4.0)));

  EXPECT_EQ(ledger.last_commit()->step(), 2u);
  const auto history = runtime::read_journal(folder);
  ASSERT_EQ(history.commits.size(), 2u);
  EXPECT_EQ(history.commits[0].loss(), 5.0);
  EXPECT_EQ(history.hashes.at(1), 42u);
}

TEST(Ledger, WithoutAJournalRemembersWhatThisProcessHasCommitted) {
  Ledger ledger(nullptr);

  EXPECT_TRUE(ledger.append(commit_of(1, 5.0)));

  EXPECT_EQ(ledger.last_commit()->loss(), 5.0);
  EXPECT_EQ(ledger.error(), "");
}

TEST(Ledger, RemembersHowFarAReplayIsAndWritesNothingTwice) {
  const fs::path folder = fs::path(testing::TempDir()) / "ledger_replay_test";
  fs::remove_all(folder);
  Ledger(std::make_unique<runtime::JournalWriter>(folder, runtime::JournalHistory{}, "cpu.1"))
      .append(commit_of(1, 5.0));
  const auto history = runtime::read_journal(folder);
  Ledger ledger(std::make_unique<runtime::JournalWriter>(folder, history, "cpu.1"), 1);

  EXPECT_FALSE(ledger.last_commit());
  EXPECT_TRUE(ledger.append(commit_of(1, 5.0)));
  EXPECT_EQ(ledger.last_commit()->step(), 1u);
  EXPECT_TRUE(ledger.append(commit_of(2, 4.0)));

  EXPECT_EQ(runtime::read_journal(folder).commits.size(), 2u);
}

// Commit law: there is one record of a step, whoever led when it was made.
TEST(Ledger, TakesOverTheLastCommitOfWhoLedBefore) {
  Ledger ledger(nullptr, 5);
  wire::StepRecord commit;
  commit.set_step(5);

  ledger.take_over(commit);

  ASSERT_TRUE(ledger.last_commit());
  EXPECT_EQ(ledger.last_commit()->step(), 5u);
}

TEST(CheckpointDesk, KeepsACopyUntilItIsWritten) {
  CheckpointDesk desk;
  EXPECT_FALSE(desk.unwritten());

  desk.put(std::make_shared<const runtime::StateSnapshot>());
  EXPECT_TRUE(desk.unwritten());
  desk.clear();

  EXPECT_FALSE(desk.unwritten());
}

}  // namespace
}  // namespace troupe::tests
