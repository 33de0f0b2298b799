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

/// Where commits are made, with the outcomes that a test wants.
struct Place {
  std::vector<runtime::Commitment> outcomes;  ///< of the next calls; behind them: committed
  std::vector<double> asked = {};             ///< the losses of the records, by call

  CommitPlace place() {
    return {[this](const wire::JournalEntry& entry) {
              asked.push_back(entry.commit().loss());
              if (outcomes.empty()) return runtime::Commitment::committed;
              const auto outcome = outcomes.front();
              outcomes.erase(outcomes.begin());
              return outcome;
            },
            [] { return std::string("no word of it"); }};
  }
};

std::unique_ptr<runtime::JournalWriter> journal_in(const fs::path& folder) {
  fs::remove_all(folder);
  return std::make_unique<runtime::JournalWriter>(folder, runtime::JournalHistory{}, "cpu.1");
}

// Commit law: what may have been committed is found out before anything else is decided.
TEST(Ledger, KeepsACommitOpenOfWhichNoWordCame) {
  const fs::path folder = fs::path(testing::TempDir()) / "ledger_open_test";
  Place place{{runtime::Commitment::unknown, runtime::Commitment::unknown}};
  Ledger ledger(journal_in(folder), 0, place.place());

  EXPECT_FALSE(ledger.append(commit_of(1, 5.0)));
  EXPECT_TRUE(ledger.is_open());
  EXPECT_EQ(ledger.error(), "no word of it");
  EXPECT_TRUE(runtime::read_journal(folder).commits.empty()) << "the journal is a copy of commits";
  EXPECT_FALSE(ledger.settle());
  EXPECT_TRUE(ledger.settle());

  EXPECT_FALSE(ledger.is_open());
  EXPECT_EQ(ledger.last_commit()->loss(), 5.0);
  EXPECT_EQ(runtime::read_journal(folder).commits.at(0).loss(), 5.0);
  EXPECT_EQ(place.asked, (std::vector<double>{5.0, 5.0, 5.0}));
}

TEST(Ledger, WritesNothingMoreWhenAnotherLeads) {
  const fs::path folder = fs::path(testing::TempDir()) / "ledger_fenced_test";
  Place place{{runtime::Commitment::committed, runtime::Commitment::fenced}};
  Ledger ledger(journal_in(folder), 0, place.place());

  EXPECT_TRUE(ledger.append(commit_of(1, 5.0)));
  EXPECT_FALSE(ledger.is_fenced());
  EXPECT_FALSE(ledger.append(commit_of(2, 4.0)));
  EXPECT_TRUE(ledger.is_fenced());
  EXPECT_TRUE(ledger.settle()) << "it is not committed and never will be";
  EXPECT_FALSE(ledger.append(commit_of(2, 3.0)));

  EXPECT_EQ(place.asked.size(), 2u);
  EXPECT_EQ(ledger.last_commit()->step(), 1u);
  EXPECT_EQ(runtime::read_journal(folder).commits.size(), 1u);
}

TEST(Ledger, AsksForNoCommitOfAReplay) {
  Place place{};
  Ledger ledger(nullptr, 3, place.place());

  EXPECT_TRUE(ledger.append(commit_of(3, 5.0)));
  EXPECT_TRUE(ledger.append(commit_of(4, 4.0)));

  EXPECT_EQ(place.asked, (std::vector<double>{4.0}));
}

}  // namespace
}  // namespace troupe::tests
