#include "runtime/cluster/journal/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>

#include "tests/runtime/cluster/journal/synced_files.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::HasSubstr;

fs::path new_folder(const std::string& name) {
  const fs::path folder = fs::path(testing::TempDir()) / ("journal_" + name);
  fs::remove_all(folder);
  return folder;
}

wire::JournalEntry commit_of(uint64_t step) {
  wire::JournalEntry entry;
  entry.mutable_commit()->set_step(step);
  return entry;
}

ParsedJournal parse_journal_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  return parse_journal({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, file);
}

/// Writes a term with commits of steps [first, last].
void write_term(const fs::path& folder, uint64_t first, uint64_t last) {
  JournalWriter writer(folder, read_journal(folder), "cpu.1");
  for (uint64_t step = first; step <= last; ++step) ASSERT_TRUE(writer.append(commit_of(step)));
}

TEST(Journal, ANewFolderHasNoHistory) {
  const JournalHistory history = read_journal(new_folder("none"));

  EXPECT_TRUE(history.commits.empty());
  EXPECT_EQ(history.last_term, 0u);
}

TEST(Journal, TermsFollowOneAnother) {
  const fs::path folder = new_folder("terms");
  write_term(folder, 1, 3);
  write_term(folder, 4, 5);

  const JournalHistory history = read_journal(folder);

  ASSERT_EQ(history.commits.size(), 5u);
  EXPECT_EQ(history.commits[4].step(), 5u);
  EXPECT_EQ(history.last_term, 2u);
  EXPECT_EQ(history.arithmetic, "cpu.1");
}

TEST(Journal, HashesOfStatesAreKept) {
  const fs::path folder = new_folder("hashes");
  {
    JournalWriter writer(folder, {}, "cpu.1");
    wire::JournalEntry entry;
    entry.mutable_applied()->set_step(1);
    entry.mutable_applied()->set_hash(42);
    ASSERT_TRUE(writer.append(commit_of(1)) && writer.append(entry));
  }

  EXPECT_EQ(read_journal(folder).hashes.at(1), 42u);
}

// What a predecessor appends after its successor has opened is void: a zombie changes nothing.
TEST(Journal, WhatAZombieAppendsIsVoid) {
  const fs::path folder = new_folder("zombie");
  JournalWriter zombie(folder, {}, "cpu.1");
  ASSERT_TRUE(zombie.append(commit_of(1)));
  JournalWriter successor(folder, read_journal(folder), "cpu.1");
  ASSERT_TRUE(zombie.append(commit_of(2)));
  wire::JournalEntry other = commit_of(2);
  other.mutable_commit()->set_loss(7.0);
  ASSERT_TRUE(successor.append(other));

  const JournalHistory history = read_journal(folder);

  ASSERT_EQ(history.commits.size(), 2u);
  EXPECT_EQ(history.commits[1].loss(), 7.0);
}

TEST(Journal, ATornTailIsCutOffAndSaid) {
  const fs::path folder = new_folder("torn");
  write_term(folder, 1, 3);
  const fs::path file = folder / "00000001";
  fs::resize_file(file, fs::file_size(file) - 2);

  const JournalHistory history = read_journal(folder);
  write_term(folder, 3, 3);

  EXPECT_EQ(history.commits.size(), 2u);
  EXPECT_THAT(history.notes, testing::ElementsAre(HasSubstr("unfinished record")));
  EXPECT_EQ(read_journal(folder).commits.size(), 3u);
}

/// Killed between writing a record and syncing it: whoever reads the file sees the record.
void write_without_sync(const fs::path& file, const wire::JournalEntry& entry) {
  uint64_t chain = parse_journal_file(file).chain;
  std::ofstream(file, std::ios::app | std::ios::binary) << frame_entry(entry, chain);
}

// Section 2: a successor makes durable what it accepts before it acts.
TEST(Journal, WhatASuccessorHasAcceptedSurvivesAPowerCut) {
  const fs::path folder = new_folder("accepted");
  write_term(folder, 1, 2);
  write_without_sync(folder / "00000001", commit_of(3));

  write_term(folder, 4, 4);
  cut_power(folder);

  EXPECT_EQ(read_journal(folder).commits.size(), 4u);
}

TEST(Journal, AnUnsyncedRecordThatNobodyHasAcceptedMayGo) {
  const fs::path folder = new_folder("unsynced");
  write_term(folder, 1, 2);
  write_without_sync(folder / "00000001", commit_of(3));

  cut_power(folder);

  EXPECT_EQ(read_journal(folder).commits.size(), 2u);
}

// What is appended to a file without a durable name is not durable.
TEST(Journal, ATermWhoseNameCannotBeMadeDurableIsNotWrittenTo) {
  const fs::path folder = new_folder("unnamed");
  JournalWriter writer(folder, {}, "cpu.1");
  ASSERT_TRUE(writer.append(commit_of(1)));
  fail_next_file_sync();
  ASSERT_FALSE(writer.append(commit_of(2)));  // the next one goes to a new file
  fail_next_folder_sync();

  EXPECT_FALSE(writer.append(commit_of(2)));
  EXPECT_THAT(writer.error(), HasSubstr("cannot be made durable"));
  EXPECT_TRUE(writer.append(commit_of(2)));
  cut_power(folder);
  EXPECT_EQ(read_journal(folder).commits.size(), 2u);
}

// The last record of a term that another follows was accepted: damage there is not an append that was
// cut off.
TEST(Journal, ADamagedLastRecordThatWasFollowedIsAnError) {
  const fs::path folder = new_folder("damaged");
  write_term(folder, 1, 3);
  write_term(folder, 4, 4);
  const fs::path file = folder / "00000001";
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(-1, std::ios::end).put('\x7f');
  bytes.close();

  EXPECT_THAT([&] { read_journal(folder); },
              testing::ThrowsMessage<JournalError>(HasSubstr("its successor, term 2, says")));
}

TEST(Journal, APredecessorOfOtherRecordsIsAnError) {
  const fs::path folder = new_folder("chain");
  write_term(folder, 1, 3);
  write_term(folder, 4, 4);
  const fs::path other = new_folder("chain_other");
  {
    JournalWriter writer(other, {}, "cpu.1");
    for (uint64_t step = 1; step <= 3; ++step) {
      wire::JournalEntry entry = commit_of(step);
      entry.mutable_commit()->set_loss(2.0);
      ASSERT_TRUE(writer.append(entry));
    }
  }
  fs::copy_file(other / "00000001", folder / "00000001", fs::copy_options::overwrite_existing);

  EXPECT_THROW(read_journal(folder), JournalError);
}

TEST(Journal, AGapIsAnError) {
  const fs::path folder = new_folder("gap");
  write_term(folder, 1, 2);
  write_term(folder, 4, 4);

  EXPECT_THROW(read_journal(folder), JournalError);
}

TEST(Journal, AMissingTermIsAnError) {
  const fs::path folder = new_folder("missing");
  write_term(folder, 1, 2);
  write_term(folder, 3, 3);
  fs::remove(folder / "00000001");

  EXPECT_THROW(read_journal(folder), JournalError);
}

TEST(Journal, AFileThatWasNeverOpenedIsPassedOver) {
  const fs::path folder = new_folder("unopened");
  write_term(folder, 1, 2);
  std::ofstream(folder / "00000002") << "TRP";

  const JournalHistory history = read_journal(folder);
  write_term(folder, 3, 3);

  EXPECT_EQ(history.commits.size(), 2u);
  EXPECT_EQ(read_journal(folder).commits.size(), 3u);
  EXPECT_TRUE(fs::exists(folder / "00000003"));
}

/// A tmpfs of 64 KiB, gone with the test however it ends: lazily, for its files may still be open.
class SmallDisk {
 public:
  explicit SmallDisk(fs::path folder) : folder_(std::move(folder)) {
    ::umount2(folder_.c_str(), MNT_DETACH);  // of a test that was killed
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    is_there_ = ::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~SmallDisk() {
    if (is_there_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool is_there() const { return is_there_; }

 private:
  const fs::path folder_;
  bool is_there_ = false;
};

TEST(Journal, NothingIsCommittedInAFileThatHasBeenRemoved) {
  const fs::path folder = new_folder("removed");
  JournalWriter writer(folder, {}, "cpu.1");
  ASSERT_TRUE(writer.append(commit_of(1)));
  fs::remove_all(folder);

  EXPECT_FALSE(writer.append(commit_of(2)));
  EXPECT_THAT(writer.error(), HasSubstr("journal_removed/00000001 has been removed"));
}

// A full disk: the record is not there, and is when there is room again.
TEST(Journal, AFullDiskLosesNothing) {
  const fs::path folder = fs::path(testing::TempDir()) / "journal_full";
  const SmallDisk disk(folder);
  if (!disk.is_there()) GTEST_SKIP() << "a small tmpfs needs root";
  JournalWriter writer(folder, {}, "cpu.1");
  ASSERT_TRUE(writer.append(commit_of(1)));
  {
    std::ofstream filler(folder / "00000000filler");
    while (filler << std::string(1024, 'x') << std::flush) {
    }
  }
  uint64_t step = 2;  // what is left of the last page still takes some
  while (step < 2000 && writer.append(commit_of(step))) ++step;
  ASSERT_LT(step, 2000u);
  EXPECT_THAT(writer.error(), HasSubstr("No space left"));
  fs::remove(folder / "00000000filler");

  EXPECT_TRUE(writer.append(commit_of(step)));
  EXPECT_EQ(read_journal(folder).commits.size(), step);
}

}  // namespace
}  // namespace troupe::tests
