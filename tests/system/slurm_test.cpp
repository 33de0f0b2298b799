// deploy/slurm in a cluster of Slurm that is made for the test: four nodes on this machine, in
// namespaces that end with it.
#include <gmock/gmock.h>

#include "config/text/paths.h"
#include "tests/system/background.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class Slurm : public SpreadProgramTest {
 protected:
  /// Runs lines of bash in the cluster (tests/system/slurm_cluster says what they have). Skips the
  /// test where there can be none.
  void in_cluster(const std::string& lines) {
    if (::geteuid() != 0) GTEST_SKIP() << "the daemons of Slurm want root";
    const std::string alone =
        "exec setpriv --pdeathsig KILL unshare --mount --net --pid --fork "
        "--kill-child --mount-proc ";
    if (const int code = run(alone + "true"); code != 0) {
      GTEST_SKIP() << "found no namespaces on this machine: " << said();
    }
    const int code =
        run(alone + "bash " TROUPE_SOURCE_DIR "/tests/system/slurm_cluster '" + lines + "'");
    if (code == 77) GTEST_SKIP() << said();
    ASSERT_EQ(code, 0) << said();
  }
  std::string said() const { return read_file(folder_ / "cluster"); }
  /// What the script gets: RUN DIR [options].
  static std::string job(const std::string& more) {
    std::string arguments = train(more);
    arguments.erase(0, std::string("train ").size());
    arguments.replace(arguments.find("--out run"), 9, "run");
    return arguments;
  }
  std::string job_output() const { return read_file(folder_ / "job"); }

 private:
  int run(const std::string& line) const {
    Background command("cd '" + folder_.string() +
                           "' && export TROUPE_NETWORK=--insecure TROUPE=" TROUPE_BINARY_DIR
                           "/troupe SCRIPT=" TROUPE_SOURCE_DIR
                           "/deploy/slurm/train.sbatch SLURM='" +
                           (config::cache_folder() / "slurm").string() + "' && " + line,
                       folder_ / "cluster");
    return command.wait();
  }
};

TEST_F(Slurm, AJobOfFourTasksEndsInTheHashOfOneProcess) {
  in_cluster("submit " + job("") + "\nover\nscontrol show job 1");
  if (IsSkipped() || HasFatalFailure()) return;

  EXPECT_EQ(last_hash(job_output()), wanted_);
  EXPECT_THAT(job_output(), HasSubstr("node 3 of 3: "));
  EXPECT_THAT(said(), HasSubstr("JobState=COMPLETED"));
}

// As at the end of its time, or before it is put back.
TEST_F(Slurm, AJobThatIsToldToEndEndsAfterTheStepAndTheSameLineGoesOn) {
  const std::string more = "--set train.optimizer.decay=CONSTANT --set train.steps=150 ";
  in_cluster("submit " + job(more) + R"(
until grep -q "step 3 " job; do sleep 0.01; done
scancel --batch --signal=TERM 1
over
scontrol show job 1
mv job first
submit )" + job(more) +
             R"(
over
scontrol show job 2)");
  if (IsSkipped() || HasFatalFailure()) return;

  EXPECT_THAT(read_file(folder_ / "first"), HasSubstr("stopped by SIGTERM after step "));
  EXPECT_THAT(said(), HasSubstr("ExitCode=143:0"));
  EXPECT_THAT(said(), HasSubstr("JobState=COMPLETED"));
  ASSERT_EQ(troupe(train("--out straight " + more)), 0) << output_;
  EXPECT_EQ(last_hash(job_output()), last_hash(output_));
}

}  // namespace
}  // namespace troupe::tests
