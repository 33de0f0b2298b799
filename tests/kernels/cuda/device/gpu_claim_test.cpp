#include "kernels/cuda/device/gpu_claim.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

namespace troupe::tests {
namespace {

using kernels::cuda::claim_gpu;
using testing::ElementsAre;

/// Names that nobody else uses.
std::vector<std::string> names(const std::string& test) {
  const std::string own = std::to_string(getpid()) + test;
  return {own + "-a", own + "-b"};
}

TEST(GpuClaim, ProcessesSpreadOverTheGpus) {
  const auto gpus = names("spread");
  std::vector<size_t> taken;
  for (int process = 0; process < 5; ++process) taken.push_back(claim_gpu(gpus));
  EXPECT_THAT(taken, ElementsAre(0, 1, 0, 1, 0));
}

TEST(GpuClaim, WhoSeesOneGpuTakesThatOne) {
  const auto gpus = names("one");
  EXPECT_EQ(claim_gpu(std::span(gpus).last(1)), 0u);
  EXPECT_EQ(claim_gpu(gpus), 0u);  // the first is free: the other one was taken
}

// Also of one that is killed: its successor comes to the same GPU.
TEST(GpuClaim, TheGpuOfAProcessThatHasEndedIsFree) {
  const auto gpus = names("ended");
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto taken = static_cast<char>(claim_gpu(gpus));
    if (write(ready[1], &taken, 1) != 1) _exit(1);
    while (true) pause();
  }
  char taken = 9;
  ASSERT_EQ(read(ready[0], &taken, 1), 1);
  EXPECT_EQ(taken, 0);
  EXPECT_EQ(claim_gpu(gpus), 1u);

  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(claim_gpu(gpus), 0u);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace troupe::tests
