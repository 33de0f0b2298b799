#include "deploy/ps/ps_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/telemetry/cells.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using runtime::Cell;
using runtime::Glass;
using testing::HasSubstr;

/// What `troupe ps` prints with these arguments. Errors are thrown.
std::string ps(std::vector<std::string> arguments) {
  CLI::App app;
  deploy::add_ps_command(app);
  arguments.insert(arguments.begin(), "ps");
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  testing::internal::CaptureStdout();
  try {
    app.parse(arguments);
  } catch (const std::exception&) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    ps(arguments);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

/// Another process that works on `folder_`: one actor is in a message, one is dead.
class PsCommandTest : public testing::Test {
 protected:
  PsCommandTest()
      : folder_(fs::path(testing::TempDir()) /
                ("ps_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    child_ = ::fork();
    if (child_ == 0) work(ready[1]);
    ::close(ready[1]);
    char path[4096] = {};
    EXPECT_GT(::read(ready[0], path, sizeof path - 1), 0);
    ::close(ready[0]);
    file_ = path;
  }
  ~PsCommandTest() override {
    kill();
    fs::remove(file_);
    fs::remove_all(folder_);
  }

  [[noreturn]] void work(int ready) const {
    const auto glass = Glass::create(folder_);
    glass->hire(
        {.role = "company", .name = "company", .parent = "", .incarnation = 1, .restarts = 0});
    Cell& stuck = *glass->hire(
        {.role = "stage", .name = "stage/0", .parent = "company", .incarnation = 1, .restarts = 0});
    for (int i = 0; i < 3; ++i) stuck.arrived();
    stuck.begin(glass->kind("forward"), {.step = 5, .micro_batch = 1, .layer = -1});
    Cell& dead = *glass->hire({.role = "router",
                               .name = "router/0",
                               .parent = "company",
                               .incarnation = 1,
                               .restarts = 0});
    dead.failed("injected");
    dead.ended("exception");
    (void)!::write(ready, glass->path().data(), glass->path().size());
    ::close(ready);
    for (;;) ::pause();
  }
  void stop() const {
    ::kill(child_, SIGSTOP);
    ::waitpid(child_, nullptr, WUNTRACED);
  }
  void kill() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    child_ = -1;
  }

  const fs::path folder_;
  fs::path file_;
  pid_t child_ = -1;
};

TEST_F(PsCommandTest, ShowsAProcessByItsFolderByItsNumberAndAmongAll) {
  const std::string heading = "process " + std::to_string(child_) + "  running  ";

  for (const std::string& text : {ps({folder_}), ps({std::to_string(child_)}), ps({})}) {
    EXPECT_THAT(text, HasSubstr(heading));
    EXPECT_THAT(text, HasSubstr("\n  stage/0   running         2"));
    EXPECT_THAT(text, HasSubstr("forward 5.1"));
    EXPECT_THAT(text, HasSubstr("exception: injected"));
  }
}

TEST_F(PsCommandTest, AFolderIsFoundByAnyOfItsNames) {
  fs::create_directory_symlink(folder_, folder_ / "link");

  EXPECT_THAT(ps({(folder_ / "link" / ".." / folder_.filename()).string()}), HasSubstr("stage/0"));
}

// Glass law: it cannot answer, and is seen.
TEST_F(PsCommandTest, AStoppedProcessShowsWhatItIsAt) {
  stop();

  const auto json = nlohmann::json::parse(ps({folder_, "--json"}));

  ASSERT_EQ(json["processes"].size(), 1u);
  const auto& process = json["processes"][0];
  EXPECT_EQ(process["state"], "stopped");
  EXPECT_EQ(process["run_folder"], fs::weakly_canonical(folder_).string());
  EXPECT_EQ(process["actors"][1]["message"]["what"], "forward");
  EXPECT_GT(process["actors"][1]["message"]["ns"], 0);
}

TEST_F(PsCommandTest, AKilledProcessIsShownWhenAskedForAndNotAmongAll) {
  const std::string pid = std::to_string(child_);
  kill();

  EXPECT_THAT(ps({folder_}), HasSubstr("process " + pid + "  ended  "));
  EXPECT_THAT(ps({pid, "--watch"}), HasSubstr("forward 5.1")) << "and a watch of it is over";
  const auto own = Glass::create("/nowhere");
  EXPECT_THAT(ps({}), testing::Not(HasSubstr("process " + pid + " ")));
}

TEST_F(PsCommandTest, ErrorsNameWhatWasLookedFor) {
  EXPECT_THAT(error_of({"/nowhere/at/all"}), HasSubstr("/nowhere/at/all: found no such folder"));
  EXPECT_THAT(error_of({"/usr"}), HasSubstr("/usr: found no process that works on this run"));
  EXPECT_THAT(error_of({"1"}), HasSubstr("process 1 shows no actors"));
  EXPECT_THAT(error_of({"2147483647"}), HasSubstr("found no process 2147483647"));
}

TEST_F(PsCommandTest, ADamagedFileIsNotedAndTheOthersAreShown) {
  const fs::path broken = file_.string() + ".9";
  std::ofstream(broken) << "no cells";

  testing::internal::CaptureStderr();
  const std::string text = ps({folder_});
  const std::string notes = testing::internal::GetCapturedStderr();
  fs::remove(broken);

  EXPECT_THAT(text, HasSubstr("stage/0"));
  EXPECT_THAT(notes, HasSubstr(broken.string() + " is no cell file"));
}

}  // namespace
}  // namespace troupe::tests
