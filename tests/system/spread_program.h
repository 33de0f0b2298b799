// Tests of runs of several processes: what the same run comes to in one process.
#pragma once

#include "runtime/data_plane/data_plane.h"
#include "tests/program.h"

namespace troupe::tests {

class SpreadProgramTest : public ProgramTest {
 protected:
  SpreadProgramTest() {
    if (!runtime::has_ucx()) return;
    EXPECT_EQ(troupe(train("--out quiet")), 0) << output_;
    wanted_ = last_hash(output_);
    std::filesystem::rename(folder_ / "quiet", folder_ / "quiet_run");
  }
  void SetUp() override {
    if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
  }

  static std::string last_hash(const std::string& output) {
    const size_t at = output.rfind("hash ");
    return at == std::string::npos ? "none in: " + output : output.substr(at + 5, 16);
  }
  /// "train ..." into a folder of that name.
  static std::string train(const std::string& more) {
    std::string arguments = ProgramTest::train(more);
    if (more.find("--out ") != std::string::npos) arguments.erase(arguments.find("--out run "), 10);
    return arguments;
  }
  /// Of the same recipe, so long that a test can do something to it.
  static std::string long_train(const std::string& more) {
    return train(
        "--set train.optimizer.decay=CONSTANT --set checkpoint.every=5 --set train.steps=100000 " +
        more);
  }
  std::string wanted_;  ///< the hash of the run
};

}  // namespace troupe::tests
