// A whole run, killed with SIGKILL again and again, ends with the hash of never having been.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/random.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string program = TROUPE_BINARY_DIR "/troupe";
constexpr int steps = 12;

/// A folder of the test that runs: tests may run side by side.
fs::path test_folder() {
  return fs::path(testing::TempDir()) /
         ("resume_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
}

/// Documents that repeat themselves a little.
fs::path text_file() {
  const fs::path path = test_folder() / "text.txt";
  std::ofstream file(path);
  const char* words[] = {"actor", "stage", "router", "expert", "step", "commit", "hash", "token"};
  for (uint64_t i = 0; i < 30000; ++i) {
    file << words[kernels::random_below({1, kernels::Purpose::test, 9, i}, 8)]
         << (i % 11 == 10 ? ".\n\n" : " ");
  }
  return path;
}

std::vector<std::string> train_arguments(const fs::path& out) {
  const std::string source = TROUPE_SOURCE_DIR;
  std::vector<std::string> arguments{program, "train",
                                     source + "/config/runs/pretrain_tiny.textproto", "--out", out};
  for (const std::string& set :
       {"data.text=" + text_file().string(), std::string("data.tokenizer.train.vocab_size=280"),
        std::string("model.with.vocab_size=280"), std::string("model.with.layers=3"),
        std::string("model.with.hidden_size=64"), std::string("data.seq_len=32"),
        "train.steps=" + std::to_string(steps), std::string("train.micro_batches=4"),
        std::string("checkpoint.every=3"), std::string("checkpoint.keep=2")}) {
    arguments.insert(arguments.end(), {"--set", set});
  }
  return arguments;
}

std::vector<std::string> resume_arguments(const fs::path& run) {
  return {program, "train", "--resume", run};
}

pid_t start(const std::vector<std::string>& arguments, const fs::path& output) {
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ::dup2(file, STDOUT_FILENO);
  ::dup2(file, STDERR_FILENO);
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

/// Waits for the end; -1 if a signal ended it.
int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string last_hash(const fs::path& output) {
  const std::string text = read(output);
  const size_t at = text.rfind("hash ");
  return at == std::string::npos ? "no hash in: " + text : text.substr(at + 5, 16);
}

class Resume : public testing::Test {
 protected:
  Resume() : folder_(test_folder()), out_(folder_ / "output") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  std::string quiet_hash() {
    EXPECT_EQ(wait_for(start(train_arguments(folder_ / "quiet"), out_)), 0) << read(out_);
    return last_hash(out_);
  }

  /// Lets the run go for a random while and kills it; true if it was still going.
  bool kill_after(pid_t child, uint64_t round, int most_ms) {
    const auto ms = kernels::random_below({11, kernels::Purpose::test, 10, round},
                                          static_cast<uint64_t>(most_ms));
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));  // the moment is the point
    ::kill(child, SIGKILL);
    return wait_for(child) == -1;
  }

  const fs::path folder_, out_;
};

// Commit law: whatever moment a process dies at, the run goes on to the same bits.
// TROUPE_KILLS sets how often (100 in the long form).
TEST_F(Resume, KilledAtRandomMomentsEndsWithTheHashOfNeverStopping) {
  const std::string wanted = quiet_hash();
  const char* often = std::getenv("TROUPE_KILLS");
  const int kills = often ? std::atoi(often) : 6;
  int killed = 0, run = 0;

  for (uint64_t round = 0; killed < kills; ++run) {
    const fs::path folder = folder_ / ("killed" + std::to_string(run));
    bool is_going = kill_after(start(train_arguments(folder), out_), round++, 1500);
    while (is_going) {
      ++killed;
      const bool has_run = fs::exists(folder / "heldout.txt");
      if (!has_run) fs::remove_all(folder);  // died before there was a run to go on with
      is_going = kill_after(
          start(has_run ? resume_arguments(folder) : train_arguments(folder), out_), round++, 1500);
      if (killed >= kills) break;
    }
    ASSERT_EQ(wait_for(start(resume_arguments(folder), out_)), 0) << read(out_);
    ASSERT_EQ(last_hash(out_), wanted) << "run " << run << ", " << killed << " kills";
  }
}

TEST_F(Resume, ADamagedNewestCheckpointIsPassedOverByName) {
  const std::string wanted = quiet_hash();
  const fs::path newest = folder_ / "quiet/checkpoints/step-12/blocks-0";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  int before = 0;  // 9, unless the disk was so slow that it was still busy with 6
  for (const int step : {3, 6, 9}) {
    if (fs::exists(folder_ / "quiet/checkpoints" / ("step-" + std::to_string(step)))) before = step;
  }

  EXPECT_EQ(wait_for(start(resume_arguments(folder_ / "quiet"), out_)), 0) << read(out_);

  EXPECT_THAT(read(out_), HasSubstr("step-12/blocks-0"));
  EXPECT_GT(before, 0);
  EXPECT_THAT(read(out_), HasSubstr("going on from state " + std::to_string(before) + "; " +
                                    std::to_string(12 - before) + " committed steps are done again"));
  EXPECT_EQ(last_hash(out_), wanted);
}

TEST_F(Resume, ATornJournalTailIsDoneAgain) {
  const std::string wanted = quiet_hash();
  const fs::path journal = folder_ / "quiet/journal/00000001";
  fs::resize_file(journal, fs::file_size(journal) * 3 / 4);
  fs::remove_all(folder_ / "quiet/checkpoints/step-12");

  EXPECT_EQ(wait_for(start(resume_arguments(folder_ / "quiet"), out_)), 0) << read(out_);

  EXPECT_THAT(read(out_), HasSubstr("unfinished record"));
  EXPECT_EQ(last_hash(out_), wanted);
}

// A replayed step must come to what the journal has: a changed text is found, not trained on.
// Nothing that a run has made is written over because something else of it is gone.
TEST_F(Resume, CheckpointsWithoutTheirJournalAreLeftAlone) {
  const fs::path run = folder_ / "run";
  ASSERT_EQ(wait_for(start(train_arguments(run), out_)), 0) << read(out_);
  fs::rename(run / "journal", folder_ / "journal");
  const auto is_there = [&] { return fs::exists(run / "checkpoints" / "step-12"); };
  ASSERT_TRUE(is_there());

  EXPECT_EQ(wait_for(start(resume_arguments(run), out_)), 1);
  EXPECT_THAT(read(out_), HasSubstr("holds a checkpoint of step 9, and the journal of "));
  std::vector<std::string> other = train_arguments(folder_ / "other");
  other.insert(other.end(), {"--set", "checkpoint.folder=" + (run / "checkpoints").string()});
  EXPECT_EQ(wait_for(start(other, out_)), 1);
  EXPECT_THAT(read(out_), HasSubstr("they are of another run, or the journal is lost"));

  EXPECT_TRUE(is_there());
  fs::remove_all(run / "journal");
  fs::rename(folder_ / "journal", run / "journal");
  EXPECT_EQ(wait_for(start(resume_arguments(run), out_)), 0) << read(out_);
}

TEST_F(Resume, ChangedDataIsFound) {
  quiet_hash();
  fs::remove_all(folder_ / "quiet/checkpoints");
  const fs::path file = text_file();
  const std::string text = read(file);
  std::ofstream(file) << text.substr(text.size() / 3);

  EXPECT_EQ(wait_for(start(resume_arguments(folder_ / "quiet"), out_)), 1);

  EXPECT_THAT(read(out_), HasSubstr("the journal has"));
}

TEST_F(Resume, AFinishedRunPrintsItsLastLineAgain) {
  const std::string wanted = quiet_hash();

  EXPECT_EQ(wait_for(start(resume_arguments(folder_ / "quiet"), out_)), 0) << read(out_);

  EXPECT_EQ(last_hash(out_), wanted);
  EXPECT_THAT(read(out_), HasSubstr("step 12  loss"));
}

}  // namespace
}  // namespace troupe::tests
