#include "deploy/chaos/surroundings.h"

#include <gmock/gmock.h>

#include <atomic>

#include "runtime/telemetry/event_log.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using deploy::Surroundings;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SurroundingsTest : public testing::Test {
 protected:
  ~SurroundingsTest() override { std::filesystem::remove(events_); }

  void say(runtime::EventLog& log, const std::string& witness) {
    wire::Event event;
    event.set_kind(wire::Event::FAILPOINT);
    event.set_text(witness);
    log.append(std::move(event));
  }
  void wait_for(const std::atomic<int>& count, int wanted) {
    while (count < wanted) std::this_thread::yield();
  }

  const std::filesystem::path events_ = own_folder();
  std::atomic<int> strikes_{0}, ends_{0};
  const Surroundings::Deed deed_{.strike = [this] { ++strikes_; }, .relieve = [this] { ++ends_; }};
};

TEST_F(SurroundingsTest, WhatIsWitnessedIsDoneForItsTime) {
  Surroundings around(events_, [&](const actors::Failpoint&) { return deed_; });
  runtime::EventLog log(events_);  // the run begins later than its surroundings

  say(log, "crash stage/0@3:forward");  // is none of what is around
  say(log, "disk journal/0@3:commit+20");
  wait_for(ends_, 1);
  say(log, "link crew/1@4:begin+20");
  wait_for(ends_, 2);

  EXPECT_GE(strikes_, 2);
  EXPECT_THAT(around.finish(), ElementsAre("disk journal/0@3:commit+20", "link crew/1@4:begin+20"));
  EXPECT_THAT(around.failed(), IsEmpty());
}

TEST_F(SurroundingsTest, WhatIsUnderWayIsRelievedAtTheEnd) {
  runtime::EventLog log(events_);
  {
    Surroundings around(events_, [&](const actors::Failpoint&) { return deed_; });
    say(log, "disk journal/0@3:commit+3600000");
    wait_for(strikes_, 2);
  }

  EXPECT_EQ(ends_, 1);
}

TEST_F(SurroundingsTest, WhatFailsIsNotTakenForDone) {
  runtime::EventLog log(events_);
  Surroundings around(events_, [&](const actors::Failpoint&) {
    return Surroundings::Deed{.strike = [] { throw std::runtime_error("no such cable"); },
                              .relieve = [this] { ++ends_; }};
  });
  say(log, "link crew/1@4:begin+20");
  wait_for(ends_, 1);

  EXPECT_THAT(around.finish(), IsEmpty());
  EXPECT_THAT(around.failed(), ElementsAre("link crew/1@4:begin+20: no such cable"));
}

}  // namespace
}  // namespace troupe::tests
