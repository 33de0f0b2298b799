// A finished run, and one that goes on: any of its steps can be done again, and what was altered
// since is found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <functional>
#include <map>

#include "runtime/cluster/journal/journal.h"
#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Replay : public ProgramTest {
 protected:
  std::string recorded(int step) const {
    return "step " + std::to_string(step) + "  hash " + trained_hash(step) + ": the recorded one\n";
  }

  /// Writes the journal anew, with one record changed: its frames are right.
  void alter_journal(const std::function<void(runtime::JournalHistory&)>& alter) {
    const fs::path folder = folder_ / "run/journal";
    runtime::JournalHistory history = runtime::read_journal(folder);
    alter(history);
    fs::remove_all(folder);
    runtime::JournalWriter writer(folder, {}, history.arithmetic);
    for (const wire::StepRecord& record : history.commits) {
      wire::JournalEntry commit, applied;
      *commit.mutable_commit() = record;
      ASSERT_TRUE(writer.append(commit));
      applied.mutable_applied()->set_step(record.step());
      applied.mutable_applied()->set_hash(history.hashes.at(record.step()));
      ASSERT_TRUE(writer.append(applied));
    }
  }

  /// Every file of the run folder with its bytes.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "run")) {
      if (entry.is_regular_file()) out[entry.path()] = read_file(entry.path());
    }
    return out;
  }
};

TEST_F(Replay, AnyStepComesToItsRecordedHashAndNothingIsWritten) {
  train_in_parts();
  const auto before = files();

  ASSERT_EQ(troupe("replay run --step 7"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("going on from state 5; 2 committed steps are done again"));
  EXPECT_THAT(output_, HasSubstr(recorded(6) + recorded(7)));
  EXPECT_THAT(output_, Not(HasSubstr("step 8")));

  ASSERT_EQ(troupe("replay run --step 12"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("going on from state 10"));
  EXPECT_THAT(output_, HasSubstr(recorded(12)));

  ASSERT_EQ(troupe("replay run --step 5"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("going on from state 0; 5 committed steps are done again"));
  EXPECT_THAT(output_, HasSubstr(recorded(5)));
  EXPECT_EQ(files(), before);
}

// Learning rates depend on the recipe's last step: a replay that ends earlier keeps them.
TEST_F(Replay, AnEarlierEndLeavesTheLearningRates) {
  ASSERT_EQ(troupe(train("--set train.optimizer.decay=LINEAR")), 0) << output_;

  ASSERT_EQ(troupe("replay run --step 4"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("going on from state 0"));
  EXPECT_THAT(output_, HasSubstr(recorded(4)));
}

TEST_F(Replay, AnAlteredCheckpointIsNamedAndTheOneBeforeIsUsed) {
  train_in_parts();
  alter_byte(folder_ / "run/checkpoints/step-5/blocks-0", 54321);

  ASSERT_EQ(troupe("replay run --step 7"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("step-5/blocks-0 is damaged"));
  EXPECT_THAT(output_, HasSubstr("going on from state 0; 7 committed steps are done again"));
  EXPECT_THAT(output_, HasSubstr(recorded(7)));
}

TEST_F(Replay, AnAlteredRecordIsFoundToTheBit) {
  train_in_parts();
  alter_journal([](runtime::JournalHistory& history) {
    wire::StepRecord& record = history.commits[6];
    record.set_bias(3, std::nextafter(record.bias(3), 1.0f));
  });

  EXPECT_EQ(troupe("replay run --step 6"), 0) << output_;
  EXPECT_EQ(troupe("replay run --step 7"), 1);
  EXPECT_THAT(output_, HasSubstr("step 7 done again came to bias[3] "));
  EXPECT_EQ(troupe("replay run --step 12"), 0) << "its steps come behind checkpoint 10";
}

TEST_F(Replay, AnAlteredHashIsFound) {
  train_in_parts();
  alter_journal([](runtime::JournalHistory& history) { history.hashes[7] ^= 1; });

  EXPECT_EQ(troupe("replay run --step 7"), 1);

  EXPECT_THAT(output_, HasSubstr("state 7 has hash " + trained_hash(7) + ", the journal has "));
}

TEST_F(Replay, ACheckpointOfAnotherStateThanTheJournalsIsNotUsed) {
  train_in_parts();
  alter_journal([](runtime::JournalHistory& history) { history.hashes[5] ^= 1; });

  EXPECT_EQ(troupe("checkpoint verify run --step 5"), 1);
  EXPECT_THAT(output_, HasSubstr("has state hash " + trained_hash(5) + ", the journal has "));
  EXPECT_EQ(troupe("replay run --step 7"), 1) << "state 5 is done again, and is found";
  EXPECT_THAT(output_, HasSubstr("step-5 has state hash"));
  EXPECT_THAT(output_, HasSubstr("state 5 has hash"));
}

// Readers take no lock, and retention takes a checkpoint away whole.
TEST_F(Replay, ReadersWorkWhileTheRunGoesOn) {
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string line = command(train("--set train.steps=100000 --set checkpoint.every=1 "
                                           "--set checkpoint.keep=1")) + " > trained 2>&1";
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  while (trained_hash(3) == "none" && ::waitpid(child, nullptr, WNOHANG) == 0) ::usleep(1000);
  std::vector<std::string> wrong;
  for (int i = 0; i < 12; ++i) {
    for (const char* arguments : {"checkpoint verify run", "checkpoint ls run"}) {
      if (troupe(arguments) != 0 && output_.find("holds no checkpoint") == std::string::npos) {
        wrong.push_back(output_);
      }
      if (output_.find("damaged") != std::string::npos) wrong.push_back(output_);
    }
  }
  const int replayed = troupe("replay run --step 3");
  const std::string output = output_;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  EXPECT_THAT(wrong, testing::IsEmpty());
  EXPECT_EQ(replayed, 0) << output;
  EXPECT_THAT(output, HasSubstr(recorded(3)));
}

}  // namespace
}  // namespace troupe::tests
