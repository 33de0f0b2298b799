#include "kernels/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;

std::string text_of(const std::exception_ptr& error) {
  if (!error) return "";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  }
}

std::exception_ptr error_of(const char* text) {
  return std::make_exception_ptr(std::runtime_error(text));
}

TEST(Queue, RunsEveryPartOnceAndOperationsInOrder) {
  ThreadPool pool(4);
  Queue queue(pool);
  std::vector<int> runs(1000);  // not atomic: an operation begins when the one before has ended
  std::vector<int64_t> order;

  for (int64_t i = 0; i < 100; ++i) {
    queue.run(1000, [&](int64_t part) { ++runs[static_cast<size_t>(part)]; });
    queue.run(1, [&, i](int64_t) { order.push_back(i); });
  }
  queue.wait();

  EXPECT_THAT(runs, testing::Each(100));
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(order[i], static_cast<int64_t>(i));
}

TEST(Queue, PartsRunInParallelAndSoDoLanes) {
  ThreadPool pool(2);
  Queue left(pool), right(pool);
  std::latch parts(2), lanes(2);

  left.run(2, [&](int64_t) { parts.arrive_and_wait(); });  // ends only if both parts meet
  left.wait();
  left.run(1, [&](int64_t) { lanes.arrive_and_wait(); });
  right.run(1, [&](int64_t) { lanes.arrive_and_wait(); });
  left.wait();
  right.wait();
}

TEST(Queue, AnOperationWithoutPartsIsNothing) {
  ThreadPool pool(2);
  Queue queue(pool);

  queue.run(0, [](int64_t) { FAIL(); });
  queue.wait();
}

TEST(Queue, CallbacksRunInTheirPlace) {
  ThreadPool pool(3);
  Queue queue(pool);
  std::vector<int> order;
  const auto note = [&](int n) { return [&order, n](std::exception_ptr) { order.push_back(n); }; };

  queue.then(note(0));
  queue.run(1, [&](int64_t) { order.push_back(1); });
  queue.then(note(2));
  queue.run(1, [&](int64_t) { order.push_back(3); });
  queue.then(note(4));
  queue.wait();

  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(Queue, WhoHasWaitedFindsNoClosureLeft) {
  ThreadPool pool(4);
  Queue queue(pool);
  const auto memory = std::make_shared<int>(0);

  for (int round = 0; round < 2000; ++round) {
    queue.run(4, [memory](int64_t) {});
    queue.then([memory](std::exception_ptr) {});
    queue.wait();
    ASSERT_EQ(memory.use_count(), 1) << "round " << round;
  }
}

TEST(Queue, CallbacksMayEnqueueHereAndElsewhere) {
  ThreadPool pool(2);
  Queue left(pool), right(pool);
  std::atomic<int> runs{0};
  std::latch done(1);

  left.then([&](std::exception_ptr) {
    right.run(5, [&](int64_t) { ++runs; });
    left.run(5, [&](int64_t) { ++runs; });
    right.then([&](std::exception_ptr) { done.count_down(); });
  });
  done.wait();
  left.wait();
  right.wait();

  EXPECT_EQ(runs, 10);
}

TEST(Queue, AfterAnExceptionOperationsAreSkippedAndCallbacksGetIt) {
  for (const int threads : {1, 4}) {
    ThreadPool pool(threads);
    Queue queue(pool), bystander(pool);
    std::atomic<int> before{0}, after{0};
    std::string first, second;

    queue.run(8, [&](int64_t) { ++before; });
    queue.run(8, [&](int64_t part) {
      if (part == 3) throw KernelError("part 3 failed");
    });
    queue.run(8, [&](int64_t) { ++after; });
    queue.then([&](std::exception_ptr e) { first = text_of(e); });
    queue.run(8, [&](int64_t) { ++after; });
    queue.then([&](std::exception_ptr e) { second = text_of(e); });
    bystander.run(8, [&](int64_t) { ++before; });

    EXPECT_EQ(kernel_error([&] { queue.wait(); }), "part 3 failed");
    bystander.wait();
    EXPECT_EQ(before, 16);
    EXPECT_EQ(after, 0);
    EXPECT_EQ(first, "part 3 failed");
    EXPECT_EQ(second, "part 3 failed");
  }
}

TEST(Queue, WaitClearsTheErrorAndTheLaneGoesOn) {
  ThreadPool pool(2);
  Queue queue(pool);
  queue.run(1, [](int64_t) { throw KernelError("once"); });
  EXPECT_EQ(kernel_error([&] { queue.wait(); }), "once");
  int runs = 0;
  std::exception_ptr seen = error_of("unset");

  queue.run(1, [&](int64_t) { ++runs; });
  queue.then([&](std::exception_ptr e) { seen = e; });
  queue.wait();

  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(seen);
}

// Supervision law: whoever takes over a lane starts behind the failure of the one before.
TEST(Queue, AfterARecoveryOperationsRunAgain) {
  ThreadPool pool(2);
  Queue queue(pool);
  std::vector<int> ran;
  queue.run(1, [](int64_t) { throw std::runtime_error("broken"); });
  queue.run(1, [&](int64_t) { ran.push_back(1); });
  queue.recover();
  queue.run(1, [&](int64_t) { ran.push_back(2); });
  queue.then([&](std::exception_ptr error) { ran.push_back(error ? 3 : 4); });

  EXPECT_NO_THROW(queue.wait());
  EXPECT_EQ(ran, (std::vector<int>{2, 4}));
}

// Who hands work on and waits for no callback hears of it too.
TEST(Queue, TellsOfAnErrorOnceAsSoonAsItIsFound) {
  ThreadPool pool(2);
  Queue queue(pool);
  std::vector<std::string> told;
  queue.on_error([&](std::exception_ptr error) {
    told.push_back(kernel_error([&] { std::rethrow_exception(error); }));
  });

  queue.run(1, [](int64_t) { throw KernelError("first"); });
  queue.run(1, [](int64_t) { throw KernelError("is skipped"); });
  queue.recover();
  queue.run(1, [](int64_t) { throw KernelError("second"); });
  EXPECT_EQ(kernel_error([&] { queue.wait(); }), "second");

  EXPECT_EQ(told, (std::vector<std::string>{"first", "second"}));
}

TEST(Queue, AnExceptionFromACallbackIsAnErrorOfTheLane) {
  ThreadPool pool(2);
  Queue queue(pool);
  bool ran = false;

  queue.then([](std::exception_ptr) { throw KernelError("in a callback"); });
  queue.run(1, [&](int64_t) { ran = true; });

  EXPECT_EQ(kernel_error([&] { queue.wait(); }), "in a callback");
  EXPECT_FALSE(ran);
}

// Each operation enqueues the next one, so only cancel can end it; the last callback tells why.
TEST(Queue, CancelDropsWhatHasNotBegunAndTellsCallbacksWhy) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Queue queue(pool);
    std::exception_ptr last;
    std::function<void(int64_t)> again = [&](int64_t) {
      queue.run(1, again);
      queue.then([&](std::exception_ptr e) { last = e; });
    };

    queue.run(1, again);
    queue.cancel(error_of("cancelled"));

    queue.wait();  // the reason is not left behind
    EXPECT_TRUE(!last || text_of(last) == "cancelled");
    int runs = 0;
    queue.run(1, [&](int64_t) { ++runs; });
    queue.wait();
    EXPECT_EQ(runs, 1);
  }
}

TEST(Queue, TheDestructorWaitsForTheWork) {
  ThreadPool pool(2);
  std::atomic<int> runs{0};
  {
    Queue queue(pool);
    for (int i = 0; i < 50; ++i) queue.run(10, [&](int64_t) { ++runs; });
  }
  EXPECT_EQ(runs, 500);
}

TEST(Queue, ReleasesWhatAnOperationHolds) {
  ThreadPool pool(2);
  const auto held = std::make_shared<int>(1);
  {
    ThreadPool inner(2);
    Queue queue(inner);
    queue.run(4, [held](int64_t) {});
    queue.then([held](std::exception_ptr) {});
    queue.wait();
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Queue, ManyLanesStayInOrderUnderLoad) {
  constexpr size_t lanes = 64;
  ThreadPool pool(4);
  struct State {
    int64_t next = 0;  // touched by single parts only, in order
    int64_t misplaced = 0;
    std::atomic<int64_t> parts{0};
    std::atomic<int> callbacks{0};
  };
  std::vector<State> states(lanes);
  std::vector<std::unique_ptr<Queue>> queues;
  for (size_t i = 0; i < lanes; ++i) queues.push_back(std::make_unique<Queue>(pool));

  for (int64_t round = 0; round < 200; ++round) {
    for (size_t i = 0; i < lanes; ++i) {
      State& s = states[i];
      const int64_t parts = 1 + (round + static_cast<int64_t>(i)) % 5;
      queues[i]->run(parts, [&s](int64_t) { ++s.parts; });
      queues[i]->run(1, [&s, round](int64_t) { s.misplaced += s.next++ != round; });
      if (round % 10 == 0) queues[i]->then([&s](std::exception_ptr) { ++s.callbacks; });
    }
  }
  for (auto& queue : queues) queue->wait();

  for (const State& s : states) {
    EXPECT_EQ(s.next, 200);
    EXPECT_EQ(s.misplaced, 0);
    EXPECT_EQ(s.parts, 200 * 3);
    EXPECT_EQ(s.callbacks, 20);
  }
}

// A thread stays in a lane, but for what others wait for.
TEST(Queue, LanesThatGoFirstAreTakenBeforeOthersInTurnAndCallbacksBeforeWork) {
  std::vector<std::string> order;
  const auto play = [&](bool has_urgent) {
    order.clear();
    ThreadPool pool(1);
    Queue busy(pool), early(pool), left(pool), right(pool), telling(pool);
    if (has_urgent) left.go_first();
    if (has_urgent) right.go_first();
    std::latch begun(1), go_on(1);
    busy.run(1, [&](int64_t) {
      begun.count_down();
      go_on.wait();
    });
    begun.wait();  // whatever comes now waits for the only thread
    const auto run = [&](Queue& queue, const char* name) {
      queue.run(1, [&order, name](int64_t) { order.push_back(name); });
    };
    run(early, "early");
    run(early, "early 2");
    run(left, "left");
    run(left, "left 2");
    telling.then([&](std::exception_ptr) { order.push_back("callback"); });
    run(right, "right");
    run(right, "right 2");
    go_on.count_down();
    for (Queue* queue : {&busy, &early, &left, &right, &telling}) queue->wait();
    return order;
  };

  EXPECT_THAT(play(false),
              testing::ElementsAre("early", "early 2", "left", "left 2", "callback", "right", "right 2"));
  EXPECT_THAT(play(true), testing::ElementsAre("callback", "left", "right", "left 2", "right 2", "early", "early 2"));
}

TEST(Queue, RangesOfPartsCoverTheItemsOnce) {
  for (const int64_t items : {0, 1, 7, 100}) {
    for (const int64_t parts : {1, 3, 7, 13}) {
      int64_t next = 0;
      for (int64_t part = 0; part < parts; ++part) {
        const auto [begin, end] = part_range(items, parts, part);
        EXPECT_EQ(begin, next);
        EXPECT_LE(end - begin, items / parts + 1);
        next = end;
      }
      EXPECT_EQ(next, items);
    }
  }
}

TEST(Queue, SmallOperationsHaveOnePartAndLargeOnesAFewAThread) {
  ThreadPool one(1), four(4);
  Queue alone(one), queue(four);

  EXPECT_EQ(part_count(queue, 0, 1000), 0);
  EXPECT_EQ(part_count(queue, 100, 1), 1);
  EXPECT_EQ(part_count(queue, 1'000'000, 1000), 16);
  EXPECT_EQ(part_count(queue, 3, 1'000'000'000), 3);
  EXPECT_EQ(part_count(alone, 1'000'000, 1000), 1);
}

TEST(Queue, APoolHasAThreadAtLeast) {
  EXPECT_EQ(kernel_error([] { ThreadPool pool(0); }), "a pool of 0 threads, wanted 1 to 1024");
  EXPECT_EQ(kernel_error([] { ThreadPool pool(1025); }),
            "a pool of 1025 threads, wanted 1 to 1024");
}

}  // namespace
}  // namespace troupe::tests
