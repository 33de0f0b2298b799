#include "actors/messages/deadline_watch.h"

#include <gmock/gmock.h>

#include <future>
#include <vector>

#include "actors/launch.h"

namespace troupe::tests {
namespace {

using namespace actors;
using namespace std::chrono_literals;

/// What waits: it writes its number down when it is late, and tells when `until` numbers are there.
struct Waiter : DeadlineWatch::Waiting {
  Waiter(int number, std::vector<int>& late, size_t until, std::promise<std::vector<int>>& told)
      : number(number), late(late), until(until), told(told) {}
  bool is_over() const override { return over; }
  void be_late() override {
    late.push_back(number);
    if (late.size() == until) told.set_value(late);
  }
  const int number;
  std::vector<int>& late;
  const size_t until;
  std::promise<std::vector<int>>& told;
  bool over = false;
};

/// An actor that does something with its watch when it begins.
class Watcher : public caf::event_based_actor {
 public:
  using Begin = std::function<void(DeadlineWatch&)>;
  Watcher(caf::actor_config& config, Begin begin, std::promise<void>* gone)
      : caf::event_based_actor(config), begin_(std::move(begin)), gone_(gone) {}
  ~Watcher() override {
    if (gone_) gone_->set_value();
  }
  caf::behavior make_behavior() override {
    begin_(watch_);
    return {[](begin_atom) {}};
  }

 private:
  const Begin begin_;
  std::promise<void>* const gone_;
  DeadlineWatch watch_{this};
};

class DeadlineWatchTest : public testing::Test {
 protected:
  ~DeadlineWatchTest() override { caf::anon_send_exit(watcher_, caf::exit_reason::kill); }

  std::vector<int> late() {
    auto told = told_.get_future();
    if (told.wait_for(60s) != std::future_status::ready) return {-1};
    return told.get();
  }
  void watch(Watcher::Begin begin) {
    watcher_ = system_.spawn<Watcher>(std::move(begin), static_cast<std::promise<void>*>(nullptr));
  }
  std::shared_ptr<Waiter> waiter(int number, size_t until) {
    return all_.emplace_back(std::make_shared<Waiter>(number, late_, until, told_));
  }

  std::vector<int> late_;
  std::promise<std::vector<int>> told_;
  std::promise<void> gone_;
  std::vector<std::shared_ptr<Waiter>> all_;  // ends behind the actors
  SystemConfig config_;
  caf::actor_system system_{config_};
  caf::actor watcher_;
};

TEST_F(DeadlineWatchTest, TellsWhoIsLateInTheOrderOfDeadlinesWhicheverCameFirst) {
  watch([this](DeadlineWatch& w) {
    w.add(waiter(0, 3), 40ms);
    w.add(waiter(1, 3), 10ms);
    w.add(waiter(2, 3), 70ms);
  });

  EXPECT_THAT(late(), testing::ElementsAre(1, 0, 2));
}

TEST_F(DeadlineWatchTest, WhatIsOverOrGoneIsNotLate) {
  watch([this](DeadlineWatch& w) {
    const auto over = waiter(0, 2);
    w.add(over, 1ms);
    over->over = true;
    w.add(std::make_shared<Waiter>(1, late_, 2, told_), 2ms);  // nobody keeps it
    w.add(waiter(2, 2), 5ms);
    w.add(waiter(3, 2), 10ms);
  });

  EXPECT_THAT(late(), testing::ElementsAre(2, 3));
}

/// What is late may be followed by something that waits.
struct Again : DeadlineWatch::Waiting {
  Again(DeadlineWatch& watch, std::shared_ptr<Waiter> next, std::chrono::milliseconds deadline)
      : watch(watch), next(std::move(next)), deadline(deadline) {}
  bool is_over() const override { return false; }
  void be_late() override { watch.add(next, deadline); }
  DeadlineWatch& watch;
  const std::shared_ptr<Waiter> next;
  const std::chrono::milliseconds deadline;
};

TEST_F(DeadlineWatchTest, WatchesWhatIsAddedWhenSomethingIsLate) {
  std::shared_ptr<Again> again;
  watch([&](DeadlineWatch& w) {
    again = std::make_shared<Again>(w, waiter(7, 1), 5ms);
    w.add(again, 5ms);
  });

  EXPECT_THAT(late(), testing::ElementsAre(7));
}

TEST_F(DeadlineWatchTest, WhatIsAddedThenDoesNotHideAnEarlierDeadline) {
  std::shared_ptr<Again> again;
  watch([&](DeadlineWatch& w) {
    again = std::make_shared<Again>(w, waiter(7, 1), 1h);
    w.add(again, 5ms);
    w.add(waiter(8, 1), 20ms);
  });

  EXPECT_THAT(late(), testing::ElementsAre(8));
}

// A company's memory goes when its actors do, though CAF's clock holds the timer until it wakes again.
TEST_F(DeadlineWatchTest, DoesNotKeepAnActorThatHasEnded) {
  std::promise<void> timer_is_held;
  auto actor = system_.spawn<Watcher>(
      [&](DeadlineWatch& w) {
        w.add(waiter(0, 1), 1h);
        system_.clock().schedule(caf::make_action([&] { timer_is_held.set_value(); }));
      },
      &gone_);
  timer_is_held.get_future().wait();
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  actor = {};

  EXPECT_EQ(gone_.get_future().wait_for(30s), std::future_status::ready);
}

}  // namespace
}  // namespace troupe::tests
