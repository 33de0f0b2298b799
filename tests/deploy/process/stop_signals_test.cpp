#include "deploy/process/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <string>

namespace troupe::tests {
namespace {

using deploy::StopSignals;

TEST(StopSignals, TheFirstSignalIsToldAndEndsNothing) {
  StopSignals signals;
  std::promise<void> told;
  signals.on_stop([&] { told.set_value(); });
  ::kill(::getpid(), SIGTERM);
  told.get_future().wait();

  EXPECT_EQ(signals.received(), SIGTERM);
}

TEST(StopSignals, WhoListensLateIsToldAtOnceAndOnce) {
  StopSignals signals;
  signals.request(SIGINT);
  signals.request(SIGTERM);
  int times = 0;
  signals.on_stop([&] { ++times; });
  signals.request(SIGINT);

  EXPECT_EQ(times, 1);
  EXPECT_EQ(signals.received(), SIGINT);
}

TEST(StopSignals, WhoIsToldMayAskWhatWasReceived) {
  StopSignals signals;
  std::promise<int> told;
  signals.on_stop([&] { told.set_value(signals.received()); });
  ::kill(::getpid(), SIGTERM);

  EXPECT_EQ(told.get_future().get(), SIGTERM);
}

TEST(StopSignals, TheSecondSignalEndsTheProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    StopSignals signals;
    std::promise<void> told;
    signals.on_stop([&] { told.set_value(); });
    ::kill(::getpid(), SIGINT);
    told.get_future().wait();
    ::kill(::getpid(), SIGINT);
    while (true) ::pause();
  }
  int status = 0;
  ::waitpid(child, &status, 0);

  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
}

// Who stops a group of processes reaches one of them twice: by itself, and by its parent.
TEST(StopSignals, OneThatTheParentPassesOnIsNoSecond) {
  int line[2];
  ASSERT_EQ(::pipe(line), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    StopSignals signals;
    signals.on_stop([&] { static_cast<void>(!::write(line[1], "x", 1)); });
    ::kill(::getpid(), SIGTERM);
    while (true) ::pause();
  }
  char told = 0;
  ASSERT_EQ(::read(line[0], &told, 1), 1);
  ::kill(child, SIGTERM);
  const auto is_taken = [child] {
    std::ifstream status("/proc/" + std::to_string(child) + "/status");
    for (std::string text; std::getline(status, text);) {
      if (text.starts_with("ShdPnd:")) return text.find_first_not_of("0\t ", 7) == std::string::npos;
    }
    return true;
  };
  while (!is_taken()) {
  }
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);

  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

// nohup, and what a shell starts in the background.
TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  {
    StopSignals signals;
    ::kill(::getpid(), SIGHUP);
    EXPECT_EQ(signals.received(), 0);
  }
  std::signal(SIGHUP, before);
}

TEST(StopSignals, TheExitCodeIsAShells) {
  EXPECT_EQ(deploy::StoppedBySignal(SIGINT, "").exit_code(), 130);
  EXPECT_EQ(deploy::signal_name(SIGPIPE), "SIGPIPE");
}

}  // namespace
}  // namespace troupe::tests
