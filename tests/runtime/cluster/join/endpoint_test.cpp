#include "runtime/cluster/join/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/cluster/cluster_error.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::HasSubstr;

TEST(Endpoint, IsReadAndWrittenAsUsersWriteIt) {
  for (const char* text : {"127.0.0.1:7070", "node-3.cluster:0", "[::1]:65535"}) {
    EXPECT_EQ(to_string(parse_endpoint(text)), text);
  }
  EXPECT_EQ(parse_endpoint("[fe80::1]:1"), (Endpoint{"fe80::1", 1}));
}

TEST(Endpoint, WhatIsNoneIsNamedWithWhatIsWanted) {
  for (const char* text : {"", "host", ":7070", "host:", "host:port", "host:65536", "host:-1",
                           "host:70 ", "::1:7070", "[::1]"}) {
    try {
      parse_endpoint(text);
      FAIL() << text;
    } catch (const ClusterError& error) {
      EXPECT_THAT(error.what(), HasSubstr("'" + std::string(text) + "', wanted "));
    }
  }
}

TEST(Endpoint, LoopbackIsWhatThisMachineAloneReaches) {
  for (const char* host : {"localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  for (const char* host : {"0.0.0.0", "10.0.0.1", "::", "fe80::1", "localhost.example", "128.0.0.1"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

}  // namespace
}  // namespace troupe::tests
