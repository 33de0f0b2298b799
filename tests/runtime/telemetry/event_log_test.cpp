#include "runtime/telemetry/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using namespace runtime;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

wire::Event event_of(uint64_t step) {
  wire::Event event;
  event.set_kind(wire::Event::EPOCH_BEGAN);
  event.set_step(step);
  return event;
}

std::vector<uint64_t> steps_of(const std::vector<wire::Event>& events) {
  std::vector<uint64_t> steps;
  for (const wire::Event& event : events) steps.push_back(event.step());
  return steps;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class EventLogTest : public testing::Test {
 protected:
  EventLogTest()
      : path_(fs::path(testing::TempDir()) /
              ("event_log_" + std::to_string(::getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove(path_);
  }
  ~EventLogTest() override { fs::remove(path_); }

  void append(std::initializer_list<uint64_t> steps) const {
    EventLog log(path_);
    for (const uint64_t step : steps) log.append(event_of(step));
  }
  const fs::path path_;
};

TEST_F(EventLogTest, KeepsEventsInOrderOverSeveralOpenings) {
  append({1, 2});
  append({3});

  const EventHistory history = read_events(path_);

  EXPECT_THAT(steps_of(history.events), ElementsAre(1, 2, 3));
  EXPECT_THAT(history.notes, IsEmpty());
  EXPECT_GT(history.events[0].unix_us(), uint64_t{1'600'000'000'000'000});
}

TEST_F(EventLogTest, ATornTailIsSaidAndCutByTheNextOpening) {
  append({1, 2});
  const std::string whole = read(path_);
  for (size_t cut = 1; cut < 20; ++cut) {
    write(path_, whole.substr(0, whole.size() - cut));
    EXPECT_THAT(read_events(path_).notes, ElementsAre(HasSubstr("bytes are no whole event")));
    append({3});
    EXPECT_THAT(steps_of(read_events(path_).events), ElementsAre(1, 3)) << cut;
    EXPECT_THAT(read_events(path_).notes, IsEmpty());
  }
}

TEST_F(EventLogTest, ALogThatWasCutOffAtItsBirthIsBegunAnew) {
  for (size_t size = 0; size < event_log_magic.size(); ++size) {
    write(path_, std::string(event_log_magic.substr(0, size)));
    append({1});
    EXPECT_THAT(steps_of(read_events(path_).events), ElementsAre(1));
  }
}

TEST_F(EventLogTest, AFileOfSomethingElseIsLeftAsItIs) {
  write(path_, "somebody's notes");

  EXPECT_THROW(EventLog{path_}, EventLogError);
  EXPECT_THROW(read_events(path_), EventLogError);
  EXPECT_EQ(read(path_), "somebody's notes");
}

TEST_F(EventLogTest, WhatCannotBeOpenedIsAnErrorWithItsName) {
  try {
    EventLog log("/nowhere/events");
    FAIL();
  } catch (const EventLogError& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot open /nowhere/events: No such file"));
  }
  EXPECT_THROW(EventFollower{testing::TempDir()}, EventLogError);
}

TEST_F(EventLogTest, DamageInTheMiddleIsPassedOverAndSaid) {
  append({1, 2, 3});
  std::string bytes = read(path_);
  const size_t second = bytes.size() - 2 * ((bytes.size() - 8) / 3);
  bytes[second + 15] = static_cast<char>(bytes[second + 15] ^ 1);
  write(path_, bytes);
  append({4});

  const EventHistory history = read_events(path_);

  EXPECT_THAT(steps_of(history.events), ElementsAre(1, 3, 4));
  EXPECT_THAT(history.notes, ElementsAre(HasSubstr("at byte " + std::to_string(second))));
}

TEST_F(EventLogTest, ALargeDamagedPartIsCrossedInPieces) {
  append({1});
  write(path_, read(path_) + std::string(3'000'000, '\x08') + frame_event([] {
                 wire::Event event = event_of(2);
                 event.set_unix_us(5);
                 return event;
               }()));

  const EventHistory history = read_events(path_);

  EXPECT_THAT(steps_of(history.events), ElementsAre(1, 2));
  EXPECT_THAT(history.notes, ElementsAre(HasSubstr("3000000 bytes are damaged")));
}

TEST_F(EventLogTest, AFollowerReadsWhatIsAdded) {
  EventLog log(path_);
  EventFollower follower(path_);
  EXPECT_THAT(follower.read(), IsEmpty());

  log.append(event_of(1));
  log.append(event_of(2));
  EXPECT_THAT(steps_of(follower.read()), ElementsAre(1, 2));
  EXPECT_THAT(follower.read(), IsEmpty());
  log.append(event_of(3));

  EXPECT_THAT(steps_of(follower.read()), ElementsAre(3));
  EXPECT_THAT(follower.notes(), IsEmpty());
}

TEST_F(EventLogTest, ManyThreadsLoseNothing) {
  {
    EventLog log(path_);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 500; ++i) log.append(event_of(static_cast<uint64_t>(i)));
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(log.dropped(), 0u);
  }

  EXPECT_THAT(read_events(path_).events, SizeIs(2000));
  EXPECT_THAT(read_events(path_).notes, IsEmpty());
}

// A limit on the file's size is met as a full disk is: a part of a record is written, then nothing.
TEST_F(EventLogTest, AFullDiskDropsEventsAndTheNextThatFitsSaysSo) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    EventLog log(path_);
    log.append(event_of(1));
    const rlimit before{fs::file_size(path_) + 20, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &before);
    log.append(event_of(2));
    log.append(event_of(3));
    const bool is_counted = log.dropped() == 2 && log.error() == "File too large";
    const rlimit after{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &after);
    log.append(event_of(4));
    log.append(event_of(5));
    ::_exit(is_counted ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);

  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  const EventHistory history = read_events(path_);
  EXPECT_THAT(steps_of(history.events), ElementsAre(1, 4, 5));
  EXPECT_EQ(history.events[1].text(), "(2 events before this one were lost: File too large)");
  EXPECT_EQ(history.events[2].text(), "");
  EXPECT_THAT(history.notes, IsEmpty());
}

TEST_F(EventLogTest, KindsHaveNames) {
  EXPECT_EQ(event_kind_name(wire::Event::ACTOR_RESTARTED), "actor_restarted");
  EXPECT_EQ(event_kind_name(static_cast<wire::Event::Kind>(99)), "kind_99");
}

}  // namespace
}  // namespace troupe::tests
