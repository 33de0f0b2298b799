#include "config/plan/buddies.h"

#include <gtest/gtest.h>

namespace troupe::config {
namespace {

using Machines = std::vector<std::string>;

// Commit law: an owner and its buddy are never on one machine where that can be.
TEST(Buddies, AreOnAnotherMachineWhereThereAreTwoOfEqualNumbers) {
  for (const Machines& machines :
       {Machines{"a", "b"}, {"a", "a", "b", "b"}, {"a", "b", "a", "b"}, {"a", "a", "a", "b", "b", "b"},
        {"a", "a", "b", "b", "c", "c", "c"}, {"a", "b", "c", "d"}, {"a", "a", "a", "b", "b", "c", "c"}}) {
    const int stride = buddy_stride(machines);
    EXPECT_GE(stride, 1);
    EXPECT_LT(stride, static_cast<int>(machines.size()));
    EXPECT_EQ(buddies_on_one_machine(machines, stride), 0) << testing::PrintToString(machines);
  }
}

TEST(Buddies, ShareAMachineOnlyWhereItHasMoreThanHalfOfTheProcesses) {
  const Machines machines{"a", "a", "a", "b"};
  EXPECT_EQ(buddies_on_one_machine(machines, buddy_stride(machines)), 2) << "of three one can go to b";
}

TEST(Buddies, OfOneMachineAreTheNextOnes) {
  EXPECT_EQ(buddy_stride({"a"}), 1);
  EXPECT_EQ(buddy_stride({"a", "a", "a"}), 1);
  EXPECT_EQ(buddies_on_one_machine({"a", "a", "a"}, 1), 3);
}

}  // namespace
}  // namespace troupe::config
