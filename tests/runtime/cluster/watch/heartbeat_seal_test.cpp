#include "runtime/cluster/watch/heartbeat_seal.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using runtime::HeartbeatSeal;
using runtime::Secret;

wire::Heartbeat sign() {
  wire::Heartbeat sign;
  sign.set_process(3);
  sign.set_life(2);
  sign.set_number(123456789);
  return sign;
}

const HeartbeatSeal& seal() {
  static const HeartbeatSeal seal(Secret("a secret of all processes"), "run 1");
  return seal;
}

TEST(HeartbeatSeal, WhatIsSealedIsOpenedByTheSameRun) {
  const auto found = seal().open(seal().seal(sign()));

  ASSERT_TRUE(found);
  EXPECT_EQ(found->SerializeAsString(), sign().SerializeAsString());
}

TEST(HeartbeatSeal, NobodyElseMakesOne) {
  const HeartbeatSeal stranger(Secret("another, of a stranger"), "run 1");
  const HeartbeatSeal other_run(Secret("a secret of all processes"), "run 2");

  EXPECT_FALSE(seal().open(stranger.seal(sign())));
  EXPECT_FALSE(seal().open(other_run.seal(sign())));
  EXPECT_FALSE(seal().open(""));
  EXPECT_FALSE(seal().open("what is this"));
}

TEST(HeartbeatSeal, AnAlteredByteBreaksIt) {
  const std::string datagram = seal().seal(sign());
  for (size_t i = 0; i < datagram.size(); ++i) {
    std::string altered = datagram;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    EXPECT_FALSE(seal().open(altered)) << "byte " << i;
  }
}

}  // namespace
}  // namespace troupe::tests
