// Runs that a test ends when it has done to them what it wants: none of them races with an end of its own.
#pragma once

#include "tests/system/background.h"
#include "tests/system/family.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {

class LongRunTest : public SpreadProgramTest {
 protected:
  /// The hash of the same recipe in one process, after so many steps.
  std::string hash_after(int steps) {
    std::filesystem::remove_all(folder_ / "straight");
    EXPECT_EQ(troupe(long_train("--out straight --set train.steps=" + std::to_string(steps))), 0)
        << output_;
    return last_hash(output_);
  }

  /// Until the output holds `text` so often; false if it ends without.
  static bool says(Background& run, const std::string& text, int times) {
    const auto count = [&] {
      const std::string all = run.text();
      int found = 0;
      for (size_t at = all.find(text); at != std::string::npos; at = all.find(text, at + 1)) ++found;
      return found;
    };
    while (count() < times) {
      if (run.has_ended()) return count() >= times;
      ::usleep(10'000);
    }
    return true;
  }

  /// The last step that it has printed; 0: none.
  static int last_step(const Background& run) {
    const std::string text = run.text(), before = "\nstep ";
    const size_t at = text.rfind(before);
    return at == std::string::npos ? 0 : std::stoi("0" + text.substr(at + before.size(), 9));
  }

  /// The step behind which a run was stopped, from what it says; 0: it was not.
  static int stopped_after(const std::string& text) {
    const std::string before = "stopped by SIGTERM after step ";
    const size_t at = text.find(before);
    return at == std::string::npos ? 0 : std::stoi(text.substr(at + before.size()));
  }

  /// The program as it was started, below what brings it to a host.
  static pid_t program_of(const Background& run) {
    const std::string program = TROUPE_BINARY_DIR "/troupe";
    pid_t pid = run.pid();
    while (read_proc("/proc/" + std::to_string(pid) + "/cmdline").c_str() != program) {
      const std::vector<pid_t> children = children_of(pid);
      if (children.empty()) break;
      pid = children.front();
    }
    return pid;
  }

  /// The run ends behind the step under way, with the hash that one process has there.
  void stop_and_expect_same_bits(Background& run) {
    ASSERT_EQ(::kill(program_of(run), SIGTERM), 0) << run.text();
    EXPECT_EQ(run.wait(), 128 + SIGTERM) << run.text();
    const std::string text = run.text();
    const int step = stopped_after(text);
    ASSERT_GT(step, 0) << text;
    EXPECT_EQ(last_hash(text), hash_after(step)) << text;
  }
};

}  // namespace troupe::tests
