#include "deploy/process/children.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace troupe::deploy {
namespace {

// The program that is started is this test, with arguments of its own.
std::vector<std::string> run_test(const std::string& name) {
  return {"--gtest_filter=" + name, "--gtest_also_run_disabled_tests"};
}
TEST(Child, DISABLED_Passes) {}
TEST(Child, DISABLED_Fails) { FAIL(); }
TEST(Child, DISABLED_IsKilled) { std::raise(SIGKILL); }
TEST(Child, DISABLED_SaysThatItIsThereAndWaits) {
  const int line = ::open(std::getenv("TROUPE_TEST_LINE"), O_WRONLY);
  ASSERT_EQ(::write(line, "x", 1), 1);
  while (true) ::pause();
}

std::filesystem::path log_of(const std::string& name) {
  const std::filesystem::path log = testing::TempDir() + "/children_" + name;
  std::filesystem::remove(log);
  return log;
}

TEST(Children, EachIsRunAndItsEndAndMemoryAreTold) {
  const std::vector<Child> children{
      {"passes", run_test("Child.DISABLED_Passes"), log_of("passes")},
      {"fails", run_test("Child.DISABLED_Fails"), log_of("fails")},
      {"again", run_test("Child.DISABLED_Passes"), log_of("again")}};
  std::vector<std::string> ends;

  run_children(children, 2, [&](const Child& child, const ChildEnd& end) {
    ends.push_back(child.name + " " + std::to_string(end.status));
    EXPECT_GT(end.peak_bytes, 1 << 20);
  });

  EXPECT_THAT(ends, testing::UnorderedElementsAre("passes 0", "fails 1", "again 0"));
  std::stringstream log;
  log << std::ifstream(children[1].log).rdbuf();
  EXPECT_THAT(log.str(), testing::HasSubstr("Child.DISABLED_Fails"));
}

TEST(Children, NoneIsStartedAfterOneThatASignalEnded) {
  std::vector<std::string> ends;

  run_children({{"killed", run_test("Child.DISABLED_IsKilled"), log_of("killed")},
                {"next", run_test("Child.DISABLED_Passes"), log_of("next")}},
               1, [&](const Child& child, const ChildEnd& end) {
                 ends.push_back(child.name + " " + std::to_string(end.status));
               });

  EXPECT_THAT(ends, testing::ElementsAre("killed 137"));
}

TEST(Children, AreToldToEndWhenWhoStartedThemIsKilled) {
  const std::string path = testing::TempDir() + "/children_line";
  ::unlink(path.c_str());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  ::setenv("TROUPE_TEST_LINE", path.c_str(), 1);
  const pid_t starter = ::fork();
  if (starter == 0) {
    run_children({{"waits", run_test("Child.DISABLED_SaysThatItIsThereAndWaits"), log_of("waits")}}, 1,
                 [](const Child&, const ChildEnd&) {});
    ::_exit(0);
  }
  const int line = ::open(path.c_str(), O_RDONLY);
  char word = 0;
  ASSERT_EQ(::read(line, &word, 1), 1);

  ::kill(starter, SIGKILL);

  pollfd file{line, 0, 0};  // hung up when the child has gone
  EXPECT_EQ(::poll(&file, 1, 10'000), 1) << "it still waits";
  ::close(line);
  ::waitpid(starter, nullptr, 0);
}

TEST(Children, ALogThatCannotBeWrittenIsAnError) {
  EXPECT_THROW(run_children({{"a", {}, "/proc/no/log"}}, 1, [](const Child&, const ChildEnd&) {}),
               std::runtime_error);
}

}  // namespace
}  // namespace troupe::deploy
