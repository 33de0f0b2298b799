#include "runtime/cluster/memory_group.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/process_handle.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

class MemoryGroups : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = why_no_memory_group();
    if (!why.empty()) GTEST_SKIP() << why;
    lack_of_memory(0);
  }

  /// A child that enters a group of 64 MiB and takes so many bytes, and then ends with code 3. What a
  /// sanitizer needs beside a few of them has room there.
  static pid_t child_that_takes(size_t bytes) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    enter_memory_group(64 << 20);
    for (size_t taken = 0; taken < bytes; taken += 1 << 20) {
      void* const memory = std::malloc(1 << 20);
      if (memory != nullptr) std::memset(memory, 1, 1 << 20);
    }
    ::_exit(3);
  }
  static ProcessHandle handle_of(pid_t child) {
    wire::NodeFacts facts;
    set_own_process(facts);
    facts.set_pid(static_cast<uint64_t>(child));
    facts.set_start_time(process_status(child)->start_time);
    return *ProcessHandle::of(facts);
  }
  /// How it ended, as its handle says.
  static std::string end_of(pid_t child) {
    const ProcessHandle handle = handle_of(child);
    EXPECT_TRUE(handle.wait(within(std::chrono::seconds(60))));
    const std::string how = handle.how_it_ended();
    EXPECT_EQ(handle.how_it_ended(), how) << "it says so as often as it is asked";
    ::waitpid(child, nullptr, 0);
    return how;
  }
};

TEST_F(MemoryGroups, AProcessThatTakesMoreThanItsGroupHasIsEndedByTheKernelAndThatIsKnown) {
  const std::string how = end_of(child_that_takes(256 << 20));

  EXPECT_THAT(how, HasSubstr("signal 9"));
  EXPECT_THAT(how, HasSubstr(", by the kernel for lack of memory"));
}

TEST_F(MemoryGroups, WhoTakesLessIsLetAlone) {
  EXPECT_EQ(end_of(child_that_takes(4 << 20)), "ended with code 3");
}

TEST_F(MemoryGroups, AKillIsNoLackOfMemory) {
  const pid_t child = ::fork();
  if (child == 0) {
    while (true) ::pause();
  }
  const ProcessHandle handle = handle_of(child);
  ::kill(child, SIGKILL);
  EXPECT_TRUE(handle.wait(within(std::chrono::seconds(60))));

  EXPECT_EQ(handle.how_it_ended(), "was ended by signal 9 (SIGKILL)");
  ::waitpid(child, nullptr, 0);
}

TEST_F(MemoryGroups, OfWhomNobodyAskedAreCountedTogether) {
  close_memory_groups();
  ::waitpid(child_that_takes(256 << 20), nullptr, 0);
  ::waitpid(child_that_takes(4 << 20), nullptr, 0);

  EXPECT_EQ(close_memory_groups(), 1u);
  EXPECT_EQ(close_memory_groups(), 0u);
}

TEST_F(MemoryGroups, TheGroupOfOneThatHasEndedIsGone) {
  const pid_t child = child_that_takes(256 << 20);
  end_of(child);

  EXPECT_EQ(lack_of_memory(child), "");
}

}  // namespace
}  // namespace troupe::tests
