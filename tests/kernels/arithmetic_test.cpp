#include "kernels/arithmetic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/queue.h"

namespace troupe::tests {
namespace {

using namespace kernels;

// They stand in journals and checkpoints: another name is another arithmetic.
TEST(ArithmeticNames, AreThoseOfJournalsAndCheckpoints) {
  EXPECT_EQ(name_of(Arithmetic::cpu), "cpu.1");
  EXPECT_EQ(name_of(Arithmetic::sm_90a), "sm_90a.1");
}

TEST(ArithmeticOfAQueue, IsTheCpusUnlessItSaysOtherwiseAndIsOfItsDevice) {
  ThreadPool pool(1);

  EXPECT_EQ(Queue(pool).arithmetic(), Arithmetic::cpu);
  try {
    Queue queue(pool, Device::cpu, Arithmetic::sm_90a);
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("a queue of arithmetic sm_90a on cpu, wanted cuda"));
  }
}

}  // namespace
}  // namespace troupe::tests
