// Runs of several processes that compute on GPUs: on one that they share, on one each where there are more.
#include <gmock/gmock.h>

#include <cstdlib>

#include "kernels/cuda/device/device.h"
#include "tests/runtime/data_plane/nccl_ranks.h"
#include "tests/system/family.h"
#include "tests/system/spread_program.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

class Gpus : public ProgramTest {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
    if (!runtime::has_ucx()) GTEST_SKIP() << runtime::why_no_ucx();
    if (!runtime::make_ucx_plane({}, {})->carries_gpu_memory()) {
      GTEST_SKIP() << "this UCX does not know a GPU's memory: LD_LIBRARY_PATH chooses another";
    }
  }

  static std::string on_gpu(const std::string& precision, const std::string& more) {
    return train("--device cuda --set train.precision=" + precision +
                 " --set train.hash_every=0 --set train.optimizer.decay=CONSTANT --set train.micro_batches=4 --set train.steps=30 " + more);
  }
  std::string hash_of(const std::string& arguments) {
    std::filesystem::remove_all(folder_ / "run");
    EXPECT_EQ(troupe(arguments), 0) << output_;
    EXPECT_THAT(output_, HasSubstr("computes on NVIDIA"));
    const size_t at = output_.rfind("hash ");
    return at == std::string::npos ? "none in: " + output_ : output_.substr(at + 5, 16);
  }
};

TEST_F(Gpus, HoweverManyProcessesAndGpusEndWithTheHashOfOne) {
  for (const char* precision : {"BF16", "FP8"}) {
    const std::string wanted = hash_of(on_gpu(precision, ""));
    for (const char* spread : {"--nodes 2 --set parallel.data=2 --set parallel.expert=2",
                               "--nodes 2 --set parallel.expert_replicas=2", "--nodes 2 --set parallel.pipeline=2", "--nodes 2 --set cluster.redundancy=0",
                               "--nodes 4 --set parallel.data=2 --set parallel.expert=2"}) {
      EXPECT_EQ(hash_of(on_gpu(precision, spread)), wanted) << precision << " " << spread << output_;
      EXPECT_THAT(output_, HasSubstr("processes; the state is in the GPU's memory"));
    }
  }
}

// Law 2. Together on GPUs of their own, or on one where NCCL allows it. Law 3: also behind a member that is killed.
TEST_F(Gpus, SumsByNcclEndWithTheHashOfOne) {
  const bool has_several_gpus = std::filesystem::exists("/dev/nvidia1");
  if (const std::string why = why_not_several_ranks(); !has_several_gpus && !why.empty()) {
    GTEST_SKIP() << "two ranks on one GPU: " << why;
  }
  const std::string together = "--set cluster.collectives=NCCL ";
  for (const char* precision : {"BF16", "FP8"}) {
    const std::string wanted = hash_of(on_gpu(precision, ""));
    for (const char* spread : {"--nodes 2 --set parallel.data=2 --set parallel.expert=2",
                               "--nodes 2 --set parallel.expert_replicas=2 --set cluster.redundancy=0"}) {
      EXPECT_EQ(hash_of(on_gpu(precision, together + spread)), wanted) << precision << " " << spread << output_;
      EXPECT_THAT(output_, HasSubstr("summed and handed out by NCCL"));
    }
  }
  const std::string wanted = hash_of(on_gpu("FP8", "--set train.steps=60"));
  std::filesystem::remove_all(folder_ / "run");
  Background run(command(on_gpu("FP8", together + "--nodes 2 --set parallel.data=2 --set train.steps=60")),
                 folder_ / "beside");
  for (const int step : {7, 25}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    ASSERT_EQ(::kill(step == 25 ? leader_of(run) : nodes_of(run).at(0), SIGKILL), 0);
  }
  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("hash " + wanted));
  EXPECT_THAT(run.text(), Not(HasSubstr("from its newest checkpoint")));
}

// The host's memory, where the GPU's is not known, or where states are verified.
TEST_F(Gpus, AStateOnTheHostHasTheSameHash) {
  const std::string wanted = hash_of(on_gpu("FP8", ""));
  const std::string spread = "--nodes 2 --set parallel.data=2 --set parallel.expert=2 ";
  EXPECT_EQ(hash_of(on_gpu("FP8", spread + "--set train.hash_every=10")), wanted);
  EXPECT_THAT(output_, HasSubstr("host's memory, where it is verified"));
  setenv("UCX_TLS", "tcp,cma", 1);
  EXPECT_EQ(hash_of(on_gpu("FP8", spread)), wanted);
  unsetenv("UCX_TLS");
  EXPECT_THAT(output_, HasSubstr("host's memory: this UCX does not know the GPU's"));
}

// Blocks and experts go to other processes, and several workers to one: what the GPUs had of them is told from what
// comes.
TEST_F(Gpus, ProcessesThatComeAndGoChangeNoBit) {
  int round = 0;
  for (const char* precision : {"BF16", "FP8"}) {
    const std::string spread = "--set train.steps=150 --set data.holdout=0 ";
    const std::string wanted = hash_of(on_gpu(precision, spread));
    for (const char* nodes : {"--nodes 4 --set parallel.data=4", "--nodes 4"}) {
      SCOPED_TRACE(std::string(precision) + " " + nodes);
      std::filesystem::remove_all(folder_ / "run");
      Background run(command(on_gpu(precision, spread + nodes)), folder_ / ("beside" + std::to_string(++round)));
      ASSERT_TRUE(run.says("step 9 ")) << run.text();
      ASSERT_EQ(troupe("drain run 1"), 0) << output_;
      ASSERT_TRUE(run.says("plan changed: ")) << run.text();
      ASSERT_EQ(troupe("drain run 1"), 0) << output_;
      EXPECT_EQ(run.wait(), 0) << run.text();
      EXPECT_THAT(run.text(), HasSubstr("hash " + wanted)) << precision << nodes;
      const std::string text = run.text();
      size_t changes = 0;
      for (size_t at = 0; (at = text.find("plan changed: ", at)) != std::string::npos; ++at) ++changes;
      EXPECT_EQ(changes, 2u) << text;
    }
  }
}

// Of two GPUs one has a single node, or both of them: the run goes on without a node, takes one again, which claims the
// GPU with the fewest, and another when that is killed.
TEST_F(Gpus, ARunGoesOnWithoutANodeTakesOneBackAndNoBitChanges) {
  const std::string spread = "--set train.steps=150 --set data.holdout=0 ";
  const std::string wanted = hash_of(on_gpu("BF16", spread));
  std::filesystem::remove_all(folder_ / "run");
  Background run(with_secret(on_gpu("BF16", spread + "--nodes 3 --listen 127.0.0.1:0")), folder_ / "beside");
  const std::string port = port_of(run);
  const auto node = [&](const char* name) {
    return std::make_unique<Background>(with_secret("node --join 127.0.0.1:" + port), folder_ / name);
  };
  const auto first = node("first"), other = node("other");
  ASSERT_TRUE(run.says("step 9 ")) << run.text();
  ASSERT_EQ(troupe("drain run 1"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("plan changed: 2 processes"));
  while (!first->has_ended() && !other->has_ended() && !run.has_ended()) ::usleep(1000);
  EXPECT_NE(first->has_ended(), other->has_ended()) << "one leaves, the other stays";

  const auto second = node("second");
  ASSERT_TRUE(run.says("plan changed: 3 processes")) << run.text();
  ASSERT_EQ(::kill(second->pid(), SIGKILL), 0);
  const auto third = node("third");

  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("hash " + wanted));
  EXPECT_THAT(run.text(), Not(HasSubstr("from its newest checkpoint")));
}

// Laws 3 and 4. Another process takes the place, and the GPU that the killed one has left.
TEST_F(Gpus, AProcessThatIsKilledIsReplacedAndNoBitChanges) {
  const std::string wanted = hash_of(on_gpu("FP8", "--set train.steps=60"));
  std::filesystem::remove_all(folder_ / "run");
  Background run(command(on_gpu("FP8", "--nodes 2 --set parallel.data=2 --set parallel.expert=2 "
                                       "--set train.steps=60")),
                 folder_ / "beside");
  for (const int step : {7, 25}) {
    ASSERT_TRUE(run.says("step " + std::to_string(step) + " ")) << run.text();
    const bool is_of_leader = step == 25;
    const pid_t process = is_of_leader ? leader_of(run) : nodes_of(run).at(0);
    ASSERT_EQ(::kill(process, SIGKILL), 0);
  }
  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_THAT(run.text(), HasSubstr("hash " + wanted));
  EXPECT_THAT(run.text(), HasSubstr("joined: "));
  EXPECT_THAT(run.text(), Not(HasSubstr("from its newest checkpoint")));
}

}  // namespace
}  // namespace troupe::tests
