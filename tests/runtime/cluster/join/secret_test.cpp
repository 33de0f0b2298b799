#include "runtime/cluster/join/secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cluster/cluster_error.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

// Made with Python's hmac over the parts, each behind its length (u64, little-endian).
TEST(Secret, ProvesByHmacSha256OverWhoAndNonceAndWhat) {
  const Secret secret("0123456789abcdef");
  EXPECT_EQ(hexadecimal(secret.prove("troupe node", "nonce", "facts")), 
            "d28374a78865df44845685bd91513e2c05b24775545fe3487fbf8f75afeef3c8");
}

TEST(Secret, AProofIsOfOneSecretSpeakerNonceAndText) {
  const Secret secret("0123456789abcdef");
  const std::string proof = secret.prove("node", "nonce", "text");

  EXPECT_TRUE(secret.is_proof(proof, "node", "nonce", "text"));
  EXPECT_FALSE(secret.is_proof(proof, "leader", "nonce", "text"));
  EXPECT_FALSE(secret.is_proof(proof, "node", "other", "text"));
  EXPECT_FALSE(secret.is_proof(proof, "node", "nonce", "texts"));
  EXPECT_FALSE(secret.is_proof(proof, "noden", "once", "text")) << "parts run into each other";
  EXPECT_FALSE(secret.is_proof("", "node", "nonce", "text"));
  EXPECT_FALSE(Secret("0123456789abcdeF").is_proof(proof, "node", "nonce", "text"));
}

TEST(Secret, AShortOneIsRefused) {
  try {
    Secret("15 bytes of it.");
    FAIL();
  } catch (const ClusterError& error) {
    EXPECT_THAT(error.what(), HasSubstr("found a cluster secret of 15 bytes, wanted 16 at least"));
  }
}

TEST(Secret, RandomOnesAndNoncesDiffer) {
  EXPECT_NE(Secret::random().text(), Secret::random().text());
  EXPECT_EQ(Secret::random().text().size(), 64u);
  EXPECT_NE(random_nonce(), random_nonce());
}

}  // namespace
}  // namespace troupe::tests
