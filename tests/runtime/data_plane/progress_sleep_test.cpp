#include "runtime/data_plane/progress_sleep.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

namespace troupe::tests {
namespace {

using namespace std::chrono_literals;
using runtime::NapLength;
using runtime::Sleeper;
using runtime::SpinBudget;

TEST(SpinBudget, ShrinksWhileLookingIsInVain) {
  SpinBudget budget(16us);

  budget.found_nothing();
  EXPECT_EQ(budget.now(), 8us);
  for (int i = 0; i < 10; ++i) budget.found_nothing();
  EXPECT_EQ(budget.now(), 1us);
}

TEST(SpinBudget, ComesBackWithWorkThatFollowsSoon) {
  SpinBudget budget(16us);
  budget.found_nothing();

  budget.found_work(33us);
  EXPECT_EQ(budget.now(), 8us);
  budget.found_work(32us);
  EXPECT_EQ(budget.now(), 16us);
}

TEST(NapLength, GrowsUntilOneMaySleep) {
  NapLength nap;

  EXPECT_EQ(nap.next(false), 50us);
  EXPECT_EQ(nap.next(false), 100us);
  auto total = 150us;
  while (const auto next = nap.next(false)) {
    total += std::chrono::duration_cast<std::chrono::microseconds>(*next);
  }
  EXPECT_LT(total, 20ms);
  nap.found_work();
  EXPECT_EQ(nap.next(false), 50us);
}

TEST(NapLength, HasNoEndOnlyIfNothingIsUnderWay) {
  NapLength nap;
  for (int i = 0; i < 100; ++i) nap.next(true);

  EXPECT_EQ(nap.next(true), 5ms);
  EXPECT_EQ(nap.next(false), std::nullopt);
}

TEST(Sleeper, IsWokenByAnotherThread) {
  Sleeper sleeper;
  sleeper.lie_down();

  std::thread other([&] { sleeper.wake(); });
  sleeper.sleep({});
  other.join();

  sleeper.wake();  // of one that is awake: leaves nothing behind
  sleeper.lie_down();
  const auto before = std::chrono::steady_clock::now();
  sleeper.sleep(20ms);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 20ms);
}

TEST(Sleeper, IsWokenByTheTransport) {
  const int file = ::eventfd(1, EFD_CLOEXEC);
  Sleeper sleeper;
  sleeper.watch(file);

  sleeper.lie_down();
  sleeper.sleep({});

  ::close(file);
}

}  // namespace
}  // namespace troupe::tests
