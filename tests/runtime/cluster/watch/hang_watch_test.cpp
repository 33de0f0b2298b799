// Glass law: an actor that hangs is seen without its help, also while it takes an answer.
#include "runtime/cluster/watch/hang_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

struct Watched {
  std::unique_ptr<Glass> glass = Glass::create("run");
  Cell* hire(const char* role, const char* name) { return glass->hire({role, name, "", 1, 0}); }
  /// What is said of it within the time that a limit of half a second allows.
  std::string heard(std::chrono::milliseconds patience) {
    std::promise<std::string> said;
    auto future = said.get_future();
    const HangWatch watch({.glass = *glass,
                           .first_limit = 0.5,
                           .step = [] { return 0.0; },
                           .hangs = [&](const std::string& what) { said.set_value(what); }});
    return future.wait_for(patience) == std::future_status::ready ? future.get() : "";
  }
};

TEST(HangWatch, AMessageThatDoesNotEndIsNamed) {
  Watched watched;
  Cell* cell = watched.hire("stage", "stage/0.0.0");
  cell->arrived();
  cell->set_step(4);
  cell->begin(watched.glass->kind("forward"));

  EXPECT_THAT(watched.heard(std::chrono::seconds(20)), HasSubstr("stage/0.0.0 has been at forward of step 4"));
}

TEST(HangWatch, AnAnswerThatIsNeverDoneWithIsNamed) {
  Watched watched;
  watched.hire("coordinator", "coordinator/0.0.0")->resumes();

  EXPECT_THAT(watched.heard(std::chrono::seconds(20)), HasSubstr("coordinator/0.0.0 has been at an answer"));
}

TEST(HangWatch, ALaneThatDoesNotGetOnIsNamed) {
  Watched watched;
  watched.hire("expert_shard", "expert_shard/0.0.1")->waiting_for(watched.glass->kind("its lane"));

  EXPECT_THAT(watched.heard(std::chrono::seconds(20)), HasSubstr("expert_shard/0.0.1 has been at its lane"));
}

TEST(HangWatch, WhoWaitsForOthersOrForADiskOrRestsOrIsDeadDoesNotHang) {
  Watched watched;
  watched.hire("crew", "crew/0.0.0")->waiting_for(watched.glass->kind("answers"));
  watched.hire("journal", "journal/0.0.0")->begin(watched.glass->kind("append"));
  Cell* resting = watched.hire("trainer", "trainer/0.0.0");
  resting->rests(resting->resumes());
  Cell* dead = watched.hire("router", "router/0.0.1");
  dead->resumes();
  dead->ended("killed");
  watched.hire("stage", "stage/0.0.0")->resumes();  // since a moment later than all of them

  EXPECT_THAT(watched.heard(std::chrono::seconds(20)), HasSubstr("stage/0.0.0"));
}

TEST(HangWatch, AThreadThatIsLateDoesNotTakeTheActorFromAnother) {
  Watched watched;
  Cell* cell = watched.hire("stage", "stage/0.0.0");
  const uint64_t first = cell->resumes();
  uint64_t second = cell->resumes();
  while (second == first) second = cell->resumes();
  cell->rests(first);

  EXPECT_THAT(watched.heard(std::chrono::seconds(20)), HasSubstr("stage/0.0.0 has been at an answer"));
}

}  // namespace
}  // namespace troupe::tests
