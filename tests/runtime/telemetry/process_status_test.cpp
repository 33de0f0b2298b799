#include "runtime/telemetry/process_status.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::tests {
namespace {

using namespace runtime;

const std::string numbers = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";

TEST(ProcessStatus, ReadsStateAndStartTimeBehindAnyName) {
  const auto status = parse_process_status("12 (a) R (b c)) T" + numbers);

  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->state, 'T');
  EXPECT_EQ(status->start_time, 4711u);
}

TEST(ProcessStatus, EveryCutOfALineIsNothingOrANumberCutOff) {
  const std::string line = "12 (troupe) S" + numbers;

  for (size_t size = 0; size < line.size(); ++size) {
    const auto status = parse_process_status(line.substr(0, size));
    if (!status) continue;
    EXPECT_EQ(std::string("4711").rfind(std::to_string(status->start_time), 0), 0u);
  }
  EXPECT_FALSE(parse_process_status("12 (troupe) S 1 2 3").has_value());
  EXPECT_FALSE(parse_process_status("12 (troupe) SS" + numbers).has_value());
}

TEST(ProcessStatus, OneThatIsAnotherOfTheSamePidHasEnded) {
  const auto status = process_status(::getpid());

  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(process_state(::getpid(), status->start_time), ProcessState::running);
  EXPECT_EQ(process_state(::getpid(), status->start_time + 1), ProcessState::ended);
}

TEST(ProcessStatus, KnowsStoppedAndEndedOnes) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  const uint64_t start = process_status(child)->start_time;
  int status = 0;

  ::kill(child, SIGSTOP);
  ::waitpid(child, &status, WUNTRACED);
  EXPECT_EQ(process_state(child, start), ProcessState::stopped);

  ::kill(child, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(process_state(child, start), ProcessState::ended) << "a zombie";

  ::waitpid(child, &status, 0);
  EXPECT_EQ(process_state(child, start), ProcessState::ended);
}

}  // namespace
}  // namespace troupe::tests
