#include "kernels/busy_time.h"

#include <gtest/gtest.h>

#include <thread>

#include "kernels/queue.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using std::chrono::milliseconds;

TEST(BusyTime, IsThatOfThePartsOfAllThreads) {
  ThreadPool pool(2);
  Queue queue(pool);
  const auto before = busy_time();

  queue.run(4, [](int64_t) {
    const auto end = std::chrono::steady_clock::now() + milliseconds(5);
    while (std::chrono::steady_clock::now() < end) {
    }
  });
  queue.wait();
  const auto after_parts = busy_time();
  queue.run(1, [](int64_t) { throw std::runtime_error("no"); });
  queue.then([](std::exception_ptr) {
    const auto end = std::chrono::steady_clock::now() + milliseconds(5);
    while (std::chrono::steady_clock::now() < end) {
    }
  });
  EXPECT_THROW(queue.wait(), std::runtime_error);

  EXPECT_GE(after_parts - before, milliseconds(20));
  EXPECT_LT(busy_time() - after_parts, milliseconds(5)) << "callbacks compute nothing";
}

}  // namespace
}  // namespace troupe::tests
