#include "runtime/cluster/journal/journal_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/random.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

wire::JournalEntry commit_of(uint64_t step) {
  wire::JournalEntry entry;
  entry.mutable_commit()->set_step(step);
  entry.mutable_commit()->set_loss(1.0 / static_cast<double>(step));
  for (int i = 0; i < 20; ++i) entry.mutable_commit()->add_bias(0.25f);
  return entry;
}

/// A journal of `n` commits, and where each of its records ends.
struct Sample {
  std::string bytes = journal_magic();
  std::vector<size_t> ends;
};
Sample sample(int n) {
  Sample s;
  uint64_t chain = 0;
  for (int step = 1; step <= n; ++step) {
    s.bytes += frame_entry(commit_of(static_cast<uint64_t>(step)), chain);
    s.ends.push_back(s.bytes.size());
  }
  return s;
}

ParsedJournal parse(const std::string& bytes) {
  return parse_journal({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "journal/1");
}

TEST(JournalFormat, GivesBackWhatWasWritten) {
  const Sample s = sample(3);

  const ParsedJournal parsed = parse(s.bytes);

  ASSERT_EQ(parsed.entries.size(), 3u);
  EXPECT_EQ(parsed.entries[2].commit().step(), 3u);
  EXPECT_EQ(parsed.valid_bytes, s.bytes.size());
  EXPECT_FALSE(parsed.is_torn);
}

// Commit law: a record that is not whole was never a commit; those before it are.
TEST(JournalFormat, EveryCutLeavesTheWholeRecordsBeforeIt) {
  const Sample s = sample(3);

  for (size_t size = 0; size < s.bytes.size(); ++size) {
    const ParsedJournal parsed = parse(s.bytes.substr(0, size));
    size_t whole = 0;
    for (const size_t end : s.ends) whole += end <= size;
    EXPECT_EQ(parsed.entries.size(), whole) << "cut at " << size;
    const bool ends_whole = size == s.ends[0] || size == s.ends[1] || size == journal_magic().size();
    EXPECT_EQ(parsed.is_torn, !ends_whole) << "cut at " << size;
  }
}

TEST(JournalFormat, ADamagedLastRecordIsATornTail) {
  Sample s = sample(3);
  s.bytes[s.ends[1] + 20] ^= 1;

  const ParsedJournal parsed = parse(s.bytes);

  EXPECT_EQ(parsed.entries.size(), 2u);
  EXPECT_TRUE(parsed.is_torn);
  EXPECT_EQ(parsed.valid_bytes, s.ends[1]);
}

TEST(JournalFormat, ZerosBehindTheLastRecordAreATornTail) {
  Sample s = sample(2);
  s.bytes += std::string(4096, '\0');

  const ParsedJournal parsed = parse(s.bytes);

  EXPECT_EQ(parsed.entries.size(), 2u);
  EXPECT_TRUE(parsed.is_torn);
}

TEST(JournalFormat, DamageBeforeWholeRecordsIsAnErrorWithItsOffset) {
  Sample s = sample(3);
  s.bytes[s.ends[0] + 20] ^= 1;

  try {
    parse(s.bytes);
    FAIL() << "no error";
  } catch (const JournalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("journal/1 is damaged at byte " + std::to_string(s.ends[0])));
  }
}

// The chain ties a record to all before it: one from another journal does not fit.
TEST(JournalFormat, ARecordOfAnotherJournalIsNotAccepted) {
  uint64_t chain = 7;
  const std::string foreign = frame_entry(commit_of(2), chain);
  const Sample s = sample(1);

  const ParsedJournal parsed = parse(s.bytes + foreign);

  EXPECT_EQ(parsed.entries.size(), 1u);
}

TEST(JournalFormat, AnotherFileIsRefused) {
  EXPECT_THROW(parse("this is no journal"), JournalError);
}

TEST(JournalFormat, ArbitraryBytesAreRefusedOrCutOffAndNothingElse) {
  const Sample s = sample(3);
  for (uint64_t round = 0; round < 3000; ++round) {
    std::string bytes = s.bytes;
    for (uint64_t flip = 0; flip < 3; ++flip) {
      const kernels::RandomKey key{5, kernels::Purpose::test, static_cast<uint32_t>(flip), round};
      bytes[kernels::random_below(key, bytes.size())] =
          static_cast<char>(kernels::random_bits(key) >> 56);
    }
    try {
      EXPECT_LE(parse(bytes).entries.size(), 3u);
    } catch (const JournalError&) {
    }
  }
}

}  // namespace
}  // namespace troupe::tests
