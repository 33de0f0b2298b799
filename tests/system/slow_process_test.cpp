// A process that computes more slowly than the others of its run.
#include <gmock/gmock.h>

#include "tests/system/family.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

using SlowProcess = SpreadProgramTest;

TEST_F(SlowProcess, IsNamedWhileItIsSlow) {
  Background run(command(long_train("--nodes 3 --set parallel.data=3 --set train.micro_batches=6 "
                                    "--set cluster.threads=1 --set checkpoint.every=100000")),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  const pid_t slow = nodes_of(run).at(0);
  const std::string name = "pid " + std::to_string(slow) + ")";

  // It runs for a fifth of the time, in slices that are shorter than what it computes in a step.
  while (run.text().find(name + " takes ") == std::string::npos && !run.has_ended()) {
    ::kill(slow, SIGSTOP);
    ::usleep(4'000);
    ::kill(slow, SIGCONT);
    ::usleep(1'000);
  }
  EXPECT_THAT(run.text(), HasSubstr("slow: process "));
  EXPECT_TRUE(run.says(name + ", ")) << "it is well again: " << run.text();

  EXPECT_EQ(run.kill(SIGINT), 130);
  ASSERT_EQ(troupe("events run --kind slow_worker"), 0);
  EXPECT_THAT(output_, HasSubstr("slow: process "));
  EXPECT_THAT(output_, HasSubstr(name));
  EXPECT_THAT(read_file(folder_ / "run/metrics.jsonl"), HasSubstr("\"busy_seconds\":{\"0\":"));
}

}  // namespace
}  // namespace troupe::tests
