// A run on a disk that fills up: nothing is lost, training goes on or waits, and ends with the hash
// of a run that had room. The disk is a small tmpfs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "runtime/data_plane/data_plane.h"
#include "tests/program.h"
#include "tests/system/family.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A tmpfs of a stated size, where the test may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& path) : path_(path) { fs::create_directories(path); }
  ~SmallDisk() { ::umount2(path_.c_str(), MNT_DETACH); }

  bool mount(uint64_t bytes) { return apply(0, bytes); }
  bool resize(uint64_t bytes) { return apply(MS_REMOUNT, bytes); }

  /// Takes all the room there is.
  void fill() const {
    const int file = ::open((path_ / "filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    const std::string page(4096, 'x');
    while (::write(file, page.data(), page.size()) > 0) {
    }
    ::close(file);
  }
  void clear() const { fs::remove(path_ / "filler"); }

 private:
  bool apply(unsigned long flags, uint64_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    return ::mount("tmpfs", path_.c_str(), "tmpfs", flags, size.c_str()) == 0;
  }

  const fs::path path_;
};

class FullDisk : public ProgramTest {
 protected:
  FullDisk() : disk_(folder_ / "run") {}

  /// The hash on the last line of a run.
  std::string last_hash() const {
    const size_t at = output_.rfind("hash ");
    return at == std::string::npos ? "no hash in: " + output_ : output_.substr(at + 5, 16);
  }

  /// Trains elsewhere, where there is room.
  std::string quiet_hash(const std::string& more = "") {
    std::string arguments = train(more);
    const std::string out = "--out run ";
    arguments.replace(arguments.find(out), out.size(), "--out quiet ");
    EXPECT_EQ(troupe(arguments), 0) << output_;
    return last_hash();
  }

  /// Waits until a file says `text`; false after a minute, or if the process ends before.
  bool waits_for(pid_t process, const fs::path& file, const std::string& text) const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (read_file(file).find(text) == std::string::npos) {
      if (::waitpid(process, nullptr, WNOHANG) != 0) return false;
      if (std::chrono::steady_clock::now() > until) return false;
      ::usleep(1000);
    }
    return true;
  }

  SmallDisk disk_;
};

TEST_F(FullDisk, ACheckpointThatDoesNotFitStopsNothingAndTheOlderOneStays) {
  const std::string often = "--set checkpoint.every=5 --set checkpoint.keep=3 ";
  const std::string wanted = quiet_hash(often);
  uint64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(folder_ / "quiet/checkpoints/step-5")) {
    bytes += file.file_size();
  }
  // Room for one checkpoint, the model at the end (a third of that) and small files: not for two.
  if (!disk_.mount(bytes * 8 / 5 + (64 << 10))) GTEST_SKIP() << "a small tmpfs needs root";

  ASSERT_EQ(troupe(train(often)), 0) << output_;

  EXPECT_EQ(last_hash(), wanted);
  EXPECT_THAT(output_, AllOf(HasSubstr("alarm: checkpoint of step 12 was not saved: "),
                             Not(HasSubstr("checkpoint of step 5 was"))));
  ASSERT_EQ(troupe("checkpoint verify run"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("step 5  whole"), Not(HasSubstr("step 10"))));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "run/checkpoints"), {}), 1)
      << "nothing unfinished stays";

  ASSERT_TRUE(disk_.resize(bytes * 8));
  ASSERT_EQ(troupe("train --resume run"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("going on from state 5; 7 committed steps are done again"));
  EXPECT_EQ(last_hash(), wanted);
  EXPECT_EQ(troupe("checkpoint verify run --step 12"), 0) << output_;
}

// Commit law: a commit that cannot be made durable waits, and nothing acts on it.
TEST_F(FullDisk, ACommitWaitsUntilTheJournalHasRoom) {
  const std::string more = "--set train.steps=400 --set checkpoint.every=1000 ";
  const std::string wanted = quiet_hash(more);
  if (!disk_.mount(64 << 20)) GTEST_SKIP() << "a small tmpfs needs root";
  const fs::path output = folder_ / "trained";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string line = command(train(more)) + " > '" + output.string() + "' 2>&1";
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  ASSERT_TRUE(waits_for(child, output, "step 3 ")) << read_file(output);

  disk_.fill();
  const bool waited = waits_for(child, output, "alarm: the journal waits: ");
  ::usleep(300'000);  // the line of the step before may come behind the alarm
  const std::string before = read_file(output);
  const bool is_whole = troupe("checkpoint ls run") == 0;  // readers read the journal all the same
  // It tries again every second: nothing more is committed meanwhile.
  ::usleep(1'500'000);
  const std::string after = read_file(output);
  disk_.clear();
  int status = 0;
  const bool went_on = waits_for(child, output, "alarm: the journal goes on");
  ::waitpid(child, &status, 0);
  output_ = read_file(output);

  EXPECT_TRUE(waited && went_on && is_whole) << output_;
  EXPECT_THAT(before, HasSubstr("No space left on device"));
  EXPECT_EQ(after.rfind("\nstep "), before.rfind("\nstep "));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(last_hash(), wanted);
  EXPECT_EQ(troupe("replay run --step 400"), 0) << output_;
}

// Law 4: what a leader waits for its successor waits for too.
TEST_F(FullDisk, WhoLeadsInALostOnesPlaceWaitsForRoomToo) {
  if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
  const std::string more = "--set train.steps=200 --set checkpoint.every=1000 ";
  const std::string wanted = quiet_hash(more);
  if (!disk_.mount(64 << 20)) GTEST_SKIP() << "a small tmpfs needs root";
  Background run(command(train(more + "--nodes 2")), folder_ / "trained");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  disk_.fill();
  ASSERT_TRUE(run.says("alarm: the journal waits: ")) << run.text();
  const pid_t leader = leader_of(run);

  ::kill(leader, SIGKILL);

  ASSERT_TRUE(run.says("cannot open a journal in ")) << run.text();
  EXPECT_NE(leader_of(run), leader);
  disk_.clear();
  EXPECT_EQ(run.wait(), 0) << run.text();
  output_ = run.text();
  EXPECT_THAT(output_, HasSubstr("alarm: the journal goes on"));
  EXPECT_EQ(last_hash(), wanted) << output_;
}

}  // namespace
}  // namespace troupe::tests
