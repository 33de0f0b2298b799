#include "runtime/cluster/join/join.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <ctime>
#include <future>
#include <random>
#include <thread>

namespace troupe::tests {
namespace {

using namespace runtime;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

wire::NodeFacts facts() {
  wire::NodeFacts facts;
  facts.set_build("b1");
  facts.set_arithmetic("cpu.1");
  facts.set_host("here");
  facts.set_pid(7);
  facts.set_data_address(std::string("\0\1\2", 3));
  return facts;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const ClusterError& error) {
    return error.what();
  }
  return "no error";
}

/// What both sides come to, when one node joins.
struct Met {
  std::string leader, node;  ///< their errors
  wire::NodeFacts facts;
  wire::NodeStart start;
};

struct Side {
  Secret secret{"a secret of both sides"};
  wire::NodeFacts facts = tests::facts();
};

Met meet(const Side& leader, const Side& node) {
  Met met;
  Listener listener({"127.0.0.1", 0});
  std::thread joining([&] {
    met.node = message_of([&] {
      FrameSocket socket = FrameSocket::connect(listener.endpoint(), within(5s));
      met.start = join(socket, node.secret, node.facts, within(5s));
    });
  });
  met.leader = message_of([&] {
    Member member = admit(std::move(*listener.accept(within(5s))), leader.secret, leader.facts,
                          within(5s));
    met.facts = member.facts;
    wire::NodeStart start;
    start.set_process(3);
    start.add_data_addresses("x");
    start_node(member, leader.secret, start);
  });
  joining.join();
  return met;
}

TEST(Join, ANodeWithTheSecretGetsItsPart) {
  const Met met = meet({}, {});
  EXPECT_EQ(met.leader, "no error");
  EXPECT_EQ(met.node, "no error");
  EXPECT_EQ(met.facts.SerializeAsString(), facts().SerializeAsString());
  EXPECT_EQ(met.start.process(), 3);
}

TEST(Join, WithoutItBothSidesSaySo) {
  Side stranger;
  stranger.secret = Secret("another, of a stranger");
  const Met met = meet({}, stranger);
  EXPECT_THAT(met.leader, HasSubstr("was refused: the cluster secret differs"));
  EXPECT_THAT(met.node, HasSubstr("has refused this node: the cluster secret differs"));
  EXPECT_EQ(met.start.process(), 0);
}

TEST(Join, AnotherBuildOrArithmeticIsNamed) {
  Side other;
  other.facts.set_build("b2");
  EXPECT_THAT(meet({}, other).node, HasSubstr("found build b2, wanted b1"));
  other.facts.set_arithmetic("sm_90a.1");
  EXPECT_THAT(meet({}, other).node, HasSubstr("found arithmetic sm_90a.1, wanted cpu.1"));
  EXPECT_THAT(meet({}, other).leader, HasSubstr("found arithmetic sm_90a.1, wanted cpu.1"));
}

TEST(Join, TlsOnOneSideAloneIsNamed) {
  Side with_tls;
  with_tls.facts.set_has_tls(true);
  EXPECT_THAT(meet(with_tls, {}).node, HasSubstr("found a node without TLS, wanted with TLS"));
  EXPECT_THAT(meet({}, with_tls).node, HasSubstr("found a node with TLS, wanted without TLS"));
  EXPECT_EQ(meet(with_tls, with_tls).node, "no error");
}

/// What a node that joins there comes to.
std::future<std::string> joining(const Listener& listener) {
  return std::async([&listener] {
    return message_of([&] {
      FrameSocket socket = FrameSocket::connect(listener.endpoint(), within(5s));
      join(socket, Secret("a secret of both sides"), facts(), within(5s));
    });
  });
}

TEST(Join, ALeaderWithoutTheSecretIsNotBelieved) {
  Listener listener({"127.0.0.1", 0});
  auto node = joining(listener);
  FrameSocket socket = std::move(*listener.accept(within(5s)));
  wire::JoinFrame frame;
  frame.mutable_challenge()->set_protocol(join_protocol);
  socket.send(frame);
  socket.receive(within(5s));
  frame.mutable_start()->set_start(wire::NodeStart().SerializeAsString());
  frame.mutable_start()->set_proof(std::string(32, 'x'));
  socket.send(frame);
  EXPECT_THAT(node.get(), HasSubstr("is not believed: the cluster secret differs"));
}

TEST(Join, AnotherProtocolIsNamed) {
  Listener listener({"127.0.0.1", 0});
  auto node = joining(listener);
  FrameSocket socket = std::move(*listener.accept(within(5s)));
  wire::JoinFrame frame;
  frame.mutable_challenge()->set_protocol(77);
  socket.send(frame);
  EXPECT_THAT(node.get(), HasSubstr("found join protocol 77, wanted 1"));
}

/// Writes bytes to a leader that waits for a hello; what it says of them.
std::string leader_hears(const std::string& bytes, bool closes = true) {
  Listener listener({"127.0.0.1", 0});
  FrameSocket stranger = FrameSocket::connect(listener.endpoint(), within(5s));
  FrameSocket socket = std::move(*listener.accept(within(5s)));
  EXPECT_EQ(::send(stranger.file(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
  if (closes) ::shutdown(stranger.file(), SHUT_WR);
  return message_of([&] {
    admit(std::move(socket), Secret("a secret of both sides"), facts(), within(200ms));
  });
}

TEST(Join, StrangersAreTurnedAway) {
  EXPECT_THAT(leader_hears("GET / HTTP/1.1\r\n\r\n"),
              HasSubstr("does not speak this protocol: found a frame of"));
  EXPECT_THAT(leader_hears(""), HasSubstr("is gone: it has closed the connection"));
  EXPECT_THAT(leader_hears("\3", false), HasSubstr("has not answered in time"));
  EXPECT_THAT(leader_hears(std::string("\2\0\0\0\xff\xff", 6)), HasSubstr("none of its messages"));
}

TEST(Join, RandomBytesAreErrorsAndNothingElse) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (bytes.size() >= 4) {
      const auto size = static_cast<uint32_t>(bytes.size() - 4);
      for (int b = 0; b < 4; ++b) bytes[static_cast<size_t>(b)] = static_cast<char>(size >> 8 * b);
    }
    EXPECT_NE(leader_hears(bytes), "no error");
  }
}

TEST(FrameSocket, APortInUseAndAnAbsentHostAreNamed) {
  const Listener first({"127.0.0.1", 0});
  EXPECT_THAT(message_of([&] { const Listener second(first.endpoint()); }),
              HasSubstr("cannot listen at " + to_string(first.endpoint()) +
                        ": Address already in use"));
  EXPECT_THAT(message_of([] { const Listener at({"no-such-host.invalid", 1}); }),
              StartsWith("cannot find the host 'no-such-host.invalid'"));
  EXPECT_THAT(message_of([] { FrameSocket::connect({"127.0.0.1", 1}, within(150ms)); }),
              HasSubstr("cannot reach 127.0.0.1:1: Connection refused"));
}

// Behind half a frame nothing makes sense: whoever sends the next one has to find the connection closed.
TEST(FrameSocket, AConnectionWithHalfAFrameOnItIsOver) {
  Listener listener({"127.0.0.1", 0});
  FrameSocket reader = FrameSocket::connect(listener.endpoint(), within(5s));
  FrameSocket writer = std::move(*listener.accept(within(5s)));
  writer.set_send_patience(50ms);
  wire::JoinFrame large, small;
  large.mutable_finish()->set_text(std::string(48 << 20, 'x'));  // more than sockets hold
  small.mutable_finish()->set_text("next");
  reader.set_limit(FrameSocket::member_limit);

  EXPECT_THAT(message_of([&] { writer.send(large); }),
              HasSubstr("has not taken what it was sent within 50 ms"));

  EXPECT_THAT(message_of([&] { writer.send(small); }), HasSubstr("is gone"));
  EXPECT_TRUE(writer.wait(within(0s))) << "who watches it notices";
  EXPECT_THAT(message_of([&] { reader.receive(within(5s)); }), HasSubstr("is gone"));
}

TEST(FrameSocket, WhoComesWhenNoFileMayBeOpenedIsSaidAndIsTakenLater) {
  Listener listener({"127.0.0.1", 0});
  const FrameSocket stranger = FrameSocket::connect(listener.endpoint(), within(5s));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{static_cast<rlim_t>(stranger.file()), before.rlim_max};  // all below are open
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);

  const std::clock_t begun = std::clock();
  const std::string message = message_of([&] { listener.accept(within(500ms)); });
  const std::clock_t used = std::clock() - begun;

  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(message, HasSubstr("Too many open files"));
  EXPECT_LT(used, CLOCKS_PER_SEC / 10) << "it waits and does not spin";
  EXPECT_TRUE(listener.accept(within(5s)).has_value());
}

TEST(FrameSocket, ConnectWaitsForOneWhoListensLater) {
  Endpoint at;
  { at = Listener({"127.0.0.1", 0}).endpoint(); }
  auto connected = std::async([&] {
    return message_of([&] { FrameSocket::connect(at, within(10s)); });
  });
  Listener listener(at);
  EXPECT_TRUE(listener.accept(within(10s)).has_value());
  EXPECT_EQ(connected.get(), "no error");
}

TEST(Build, HasANumberOfItsFile) {
  EXPECT_EQ(build_id().size(), 16u);
  EXPECT_EQ(build_id(), build_id());
}

}  // namespace
}  // namespace troupe::tests
