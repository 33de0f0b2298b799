// A process that computes more slowly than the others of its run, and what follows by cluster.on_slow.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "tests/system/family.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

/// While it lives, a process runs for a fifth of the time, in slices that are shorter than what it computes
/// in a step.
class Slowdown {
 public:
  explicit Slowdown(pid_t process)
      : thread_([this, process] {
          while (!is_over_) {
            ::kill(process, SIGSTOP);
            ::usleep(4'000);
            ::kill(process, SIGCONT);
            ::usleep(1'000);
          }
        }) {}
  ~Slowdown() {
    is_over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

class SlowProcess : public SpreadProgramTest {
 protected:
  static constexpr const char* alike =
      "--set cluster.threads=1 --set train.micro_batches=6 --set checkpoint.every=100000 ";

  /// What a run in one process, of the same length, comes to: ends the run.
  void expect_the_hash_of_one_process(Background& run) {
    EXPECT_EQ(run.kill(SIGINT), 130) << run.text();
    const std::string text = run.text();
    const size_t at = text.rfind("\nstep ") + 6;
    const std::string steps = text.substr(at, text.find(' ', at) - at);
    ASSERT_EQ(troupe(long_train(std::string("--out straight ") + alike + "--set train.steps=" + steps)), 0)
        << output_;
    EXPECT_EQ(last_hash(text), last_hash(output_)) << "step " << steps << ": " << text;
  }
};

TEST_F(SlowProcess, IsNamedWhileItIsSlow) {
  Background run(command(long_train(std::string("--nodes 3 --set parallel.data=3 ") + alike)),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  const pid_t slow = nodes_of(run).at(0);
  const std::string name = "pid " + std::to_string(slow) + ")";

  {
    const Slowdown slowdown(slow);
    EXPECT_TRUE(run.says(name + " takes ")) << run.text();
  }
  EXPECT_THAT(run.text(), HasSubstr("slow: process "));
  EXPECT_TRUE(run.says(name + ", ")) << "it is well again: " << run.text();

  EXPECT_EQ(run.kill(SIGINT), 130);
  EXPECT_THAT(run.text(), Not(HasSubstr("rebalanced")));
  ASSERT_EQ(troupe("events run --kind slow_worker"), 0);
  EXPECT_THAT(output_, HasSubstr("slow: process "));
  EXPECT_THAT(output_, HasSubstr(name));
  EXPECT_THAT(read_file(folder_ / "run/metrics.jsonl"), HasSubstr("\"busy_seconds\":{\"0\":"));
}

// Sum law (2): who computes which micro-batch shows in no bit.
TEST_F(SlowProcess, GetsFewerMicroBatchesWhileItIsSlowAndNoBitChanges) {
  Background run(command(long_train(std::string("--nodes 2 --set parallel.data=2 "
                                                "--set cluster.on_slow=REBALANCE ") + alike)),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();

  {
    const Slowdown slowdown(nodes_of(run).at(0));
    EXPECT_TRUE(run.says("rebalanced: data worker 0 takes ")) << run.text();
    EXPECT_THAT(run.text(), AnyOf(HasSubstr("data worker 1 takes 1 for 3"),
                                  HasSubstr("data worker 1 takes 2 for 3")));
  }
  EXPECT_TRUE(run.says("data worker 1 takes 3 for ")) << "it is well again: " << run.text();

  expect_the_hash_of_one_process(run);
  ASSERT_EQ(troupe("events run --kind rebalanced"), 0);
  EXPECT_THAT(output_, HasSubstr("rebalanced: data worker 0 takes "));
  EXPECT_THAT(read_file(folder_ / "run/metrics.jsonl"),
              AllOf(HasSubstr("\"shares\":[3,3]"), AnyOf(HasSubstr("\"shares\":[5,1]"), HasSubstr("\"shares\":[4,2]"))));
}

TEST_F(SlowProcess, ThatStaysSlowIsDrainedByPolicyAndNoBitChanges) {
  Background run(command(long_train(std::string("--nodes 3 --set parallel.data=3 "
                                                "--set cluster.on_slow=DRAIN --set cluster.slow_steps=20 ") +
                                    alike)),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();
  const pid_t slow = nodes_of(run).at(0);

  {
    const Slowdown slowdown(slow);
    EXPECT_TRUE(run.says("plan changed: 2 processes from step ")) << run.text();
  }

  EXPECT_THAT(run.text(), HasSubstr("pid " + std::to_string(slow) + ") leaves: it stays slow"));
  expect_the_hash_of_one_process(run);
}

TEST_F(SlowProcess, ThatThePlanCannotDoWithoutStaysAndThatIsSaid) {
  Background run(command(long_train(std::string("--nodes 2 --set parallel.data=2 "
                                                "--set cluster.on_slow=DRAIN --set cluster.slow_steps=20 ") +
                                    alike)),
                 folder_ / "beside");
  ASSERT_TRUE(run.says("step 3 ")) << run.text();

  {
    const Slowdown slowdown(nodes_of(run).at(0));
    EXPECT_TRUE(run.says("stays slow and cannot leave: found 1 process, wanted at least 2")) << run.text();
    EXPECT_THAT(run.text(), HasSubstr("rebalanced: data worker 0 takes ")) << "it has less to do meanwhile";
  }

  expect_the_hash_of_one_process(run);
}

}  // namespace
}  // namespace troupe::tests
