#include "deploy/records/events_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/telemetry/event_log.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using wire::Event;

void run_events(std::vector<std::string> arguments) {
  CLI::App app;
  deploy::add_events_command(app);
  arguments.insert(arguments.begin(), "events");
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.parse(arguments);
}

/// What `troupe events` prints with these arguments. Errors are thrown.
std::string events(const std::vector<std::string>& arguments) {
  testing::internal::CaptureStdout();
  try {
    run_events(arguments);
  } catch (const std::exception&) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    events(arguments);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

class EventsCommandTest : public testing::Test {
 protected:
  EventsCommandTest()
      : folder_(fs::path(testing::TempDir()) /
                ("events_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    fs::create_directories(folder_);
    add(Event::RUN_BEGAN, "", "seed 1");
    add(Event::ACTOR_RESTARTED, "stage/0", "exception: \x1b[31mred");
    add(Event::ACTOR_RESTARTED, "stage_two/0", "other");
  }
  ~EventsCommandTest() override { fs::remove_all(folder_); }

  void add(Event::Kind kind, const std::string& actor, const std::string& text) const {
    runtime::EventLog log(folder_ / "events");
    Event event;
    event.set_unix_us(1'795'523'696'123'456);
    event.set_kind(kind);
    event.set_actor(actor);
    event.set_text(text);
    if (!actor.empty()) {
      event.set_incarnation(2);
      event.set_step(7);
      event.set_epoch_term(1);
      event.set_epoch_n(4);
    }
    log.append(event);
  }

  const fs::path folder_;
};

TEST_F(EventsCommandTest, PrintsALineAnEventThatATerminalMayGet) {
  EXPECT_EQ(events({folder_}),
            "2026-11-24 12:34:56.123456  run_began  seed 1\n"
            "2026-11-24 12:34:56.123456  actor_restarted  stage/0  incarnation 2  step 7  epoch 1.4"
            "  exception: ?[31mred\n"
            "2026-11-24 12:34:56.123456  actor_restarted  stage_two/0  incarnation 2  step 7  "
            "epoch 1.4  other\n");
}

TEST_F(EventsCommandTest, ChoosesByKindAndByActorOrRole) {
  EXPECT_EQ(events({folder_, "--kind", "run_began"}),
            "2026-11-24 12:34:56.123456  run_began  seed 1\n");
  EXPECT_THAT(events({folder_, "--actor", "stage"}), HasSubstr("stage/0"));
  EXPECT_THAT(events({folder_, "--actor", "stage"}), testing::Not(HasSubstr("stage_two")));
  EXPECT_THAT(events({folder_, "--actor", "stage_two/0"}), HasSubstr("other"));
  EXPECT_EQ(events({folder_, "--kind", "alarm", "--kind", "replay"}), "");
  EXPECT_THAT(error_of({folder_, "--kind", "nonsense"}), HasSubstr("nonsense not in {"));
}

TEST_F(EventsCommandTest, JsonIsAnObjectALine) {
  std::istringstream lines(events({folder_, "--json", "--actor", "stage/0"}));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));

  const auto json = nlohmann::json::parse(line);

  EXPECT_EQ(json["kind"], "actor_restarted");
  EXPECT_EQ(json["unix_us"], 1'795'523'696'123'456);
  EXPECT_EQ(json["epoch_n"], 4);
  EXPECT_EQ(json["text"], "exception: \x1b[31mred");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(EventsCommandTest, ErrorsNameWhatWasLookedFor) {
  fs::create_directory(folder_ / "empty");

  EXPECT_THAT(error_of({"/nowhere"}), HasSubstr("/nowhere: found no such folder"));
  EXPECT_THAT(error_of({folder_ / "empty"}), HasSubstr("found no event log, wanted the file"));
  std::ofstream(folder_ / "empty" / "events") << "something else";
  EXPECT_THAT(error_of({folder_ / "empty"}), HasSubstr("is no event log"));
}

TEST_F(EventsCommandTest, ATornTailIsANote) {
  fs::resize_file(folder_ / "events", fs::file_size(folder_ / "events") - 3);

  testing::internal::CaptureStderr();
  const std::string text = events({folder_});

  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("are no whole event"));
  EXPECT_THAT(text, testing::Not(HasSubstr("stage_two")));
}

TEST_F(EventsCommandTest, FollowingPrintsWhatIsAddedLater) {
  int out[2];
  ASSERT_EQ(::pipe(out), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(out[1], STDOUT_FILENO);
    run_events({folder_, "--follow", "--kind", "alarm"});
    ::_exit(1);
  }
  ::close(out[1]);

  add(Event::ALARM, "", "first");
  add(Event::ALARM, "", "second");
  std::string text;
  char piece[256];
  while (text.find("second") == std::string::npos) {
    const ssize_t n = ::read(out[0], piece, sizeof piece);
    if (n <= 0) break;
    text.append(piece, static_cast<size_t>(n));
  }
  ::close(out[0]);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  EXPECT_EQ(text,
            "2026-11-24 12:34:56.123456  alarm  first\n"
            "2026-11-24 12:34:56.123456  alarm  second\n");
}

}  // namespace
}  // namespace troupe::tests
