// Planes of two processes, one of which is stopped or killed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <set>

#include "tests/runtime/data_plane/hex.h"
#include "tests/runtime/data_plane/planes.h"

extern char** environ;

namespace troupe::tests {
namespace {

using testing::ElementsAreArray;
using testing::IsSupersetOf;

/// A process of peer.cpp.
class Peer {
 public:
  Peer(const Wire& wire, const char* what) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    std::string program = TROUPE_BINARY_DIR "/bin/data_plane_peer", transports = wire.transports,
                network = wire.network, mode = what;
    char* arguments[] = {program.data(), transports.data(), network.data(), mode.data(), nullptr};
    if (::posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments, environ) != 0) {
      process_ = 0;
    }
    posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    in_ = ::fdopen(to[1], "w");
    out_ = ::fdopen(from[0], "r");
    address_ = from_hex(line());
  }
  ~Peer() {
    send(SIGCONT);
    std::fclose(in_);
    std::fclose(out_);
    wait();
  }

  const std::string& address() const { return address_; }

  /// Peer 1 of the plane, and the plane its peer. False if the process says otherwise.
  bool meet(DataPlane& plane) {
    plane.connect(1, address_);
    std::fputs((to_hex(plane.address()) + "\n").c_str(), in_);
    std::fflush(in_);
    return line() == "connected";
  }

  /// The next line it prints, without its end.
  std::string line() {
    std::string text;
    for (int c = std::fgetc(out_); c != '\n' && c != EOF; c = std::fgetc(out_)) {
      text += static_cast<char>(c);
    }
    return text;
  }

  void send(int signal) {
    if (process_ > 0) ::kill(process_, signal);
  }
  void kill() {
    send(SIGKILL);
    wait();
  }
  /// Stopped when this returns.
  void freeze() {
    send(SIGSTOP);
    if (process_ > 0) ::waitpid(process_, nullptr, WUNTRACED);
  }

 private:
  void wait() {
    int status = 0;
    if (process_ > 0) ::waitpid(process_, &status, 0);
    process_ = 0;
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    EXPECT_TRUE(was_killed || status == 0) << "ended with status " << status;
  }

  pid_t process_ = 0;
  std::FILE* in_ = nullptr;
  std::FILE* out_ = nullptr;
  std::string address_;
};

class UcxProcessTest : public WireTest {
 protected:
  void SetUp() override {
    WireTest::SetUp();
    if (!IsSkipped()) plane_ = GetParam().plane(inbox_.events());
  }

  /// Parcels with tensors of these bytes; returns their letters.
  std::vector<std::string> send(const std::vector<int64_t>& sizes) {
    std::vector<std::string> letters;
    for (const int64_t size : sizes) {
      letters.push_back(std::to_string(letters.size()));
      plane_->send(1, {letters.back(), {filled_bytes(size, static_cast<uint32_t>(size))}});
    }
    return letters;
  }

  Inbox inbox_;
  std::unique_ptr<DataPlane> plane_;
};

TEST_P(UcxProcessTest, ParcelsGoThereAndBack) {
  std::vector<int64_t> sizes;
  for (int64_t n = 1; n <= 64 << 20; n *= 2) {
    for (const int64_t size : {n - 1, n, n + 3}) sizes.push_back(size);
  }
  std::shuffle(sizes.begin(), sizes.end(), std::minstd_rand(7));
  Peer peer(GetParam(), "echo");
  ASSERT_TRUE(peer.meet(*plane_));

  send(sizes);

  auto parcels = inbox_.parcels(sizes.size());
  ASSERT_EQ(parcels.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto want = filled_bytes(sizes[i], static_cast<uint32_t>(sizes[i]));
    EXPECT_TRUE(is_same(want, parcels[std::to_string(i)].tensors.at(0))) << sizes[i];
  }
}

TEST_P(UcxProcessTest, KillingAPeerLosesEveryLetterThatItHasNotConfirmed) {
  Peer peer(GetParam(), "hold");
  ASSERT_TRUE(peer.meet(*plane_));
  const auto letters = send({0, 10, 100000, 1 << 20, 16 << 20, 0});
  ASSERT_TRUE(comes_true([this] { return plane_->counters().parcels_sent == 6; }));

  peer.kill();

  const auto losses = inbox_.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].peer, 1);
  EXPECT_THAT(losses[0].undelivered, ElementsAreArray(letters));
  EXPECT_THROW(plane_->send(1, {"late", {}}), DataPlaneError);
  EXPECT_TRUE(inbox_.is_quiet_for(std::chrono::milliseconds(50)));
}

TEST_P(UcxProcessTest, AKilledPeerIsNoticedThoughNothingIsSent) {
  Peer peer(GetParam(), "echo");
  ASSERT_TRUE(peer.meet(*plane_));
  send({5});
  ASSERT_EQ(inbox_.parcels(1).size(), 1u);

  peer.kill();

  EXPECT_EQ(inbox_.losses(1).size(), 1u);
}

TEST_P(UcxProcessTest, KillingAPeerWhileLargeTensorsComeAndGoLosesItOnce) {
  for (int round = 0; round < 5; ++round) {
    Inbox inbox;
    auto plane = GetParam().plane(inbox.events());
    Peer peer(GetParam(), "echo");
    ASSERT_TRUE(peer.meet(*plane));
    for (int i = 0; i < 40; ++i) {
      plane->send(1, {std::to_string(i), {filled_bytes(4 << 20, 1)}});
    }
    inbox.parcels(static_cast<size_t>(1 + round * 3));

    peer.kill();

    const auto losses = inbox.losses(1);
    ASSERT_EQ(losses.size(), 1u);
    const auto returned = inbox.order();
    std::set<std::string> accounted(returned.begin(), returned.end());
    EXPECT_EQ(accounted.size(), returned.size());
    // What came back had been received; its confirmation may be lost.
    accounted.insert(losses[0].undelivered.begin(), losses[0].undelivered.end());
    EXPECT_LE(accounted.size(), 40u);
    for (const auto& [letter, parcel] : inbox.parcels(0)) {
      EXPECT_TRUE(is_same(filled_bytes(4 << 20, 1), parcel.tensors.at(0))) << letter;
    }
  }
}

TEST_P(UcxProcessTest, AFrozenPeerCanBeDisconnected) {
  Peer peer(GetParam(), "echo");
  ASSERT_TRUE(peer.meet(*plane_));
  plane_->send(1, {"there and back", {}});
  ASSERT_EQ(inbox_.parcels(1).size(), 1u);
  peer.freeze();
  const auto letters = send({10, 1 << 20, 64 << 20});

  plane_->disconnect(1);

  const auto losses = inbox_.losses(1);
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].why, "disconnected");
  EXPECT_THAT(losses[0].undelivered, IsSupersetOf(letters));
  plane_.reset();
  peer.send(SIGCONT);
  EXPECT_EQ(peer.line().substr(0, 5), "lost ");
}

/// UCX's shared memory has one queue for all who send: a hole that a death leaves in it stays.
TEST_P(UcxProcessTest, APeerThatDiesWhileItSendsStopsNobodyElse) {
  if (std::string(GetParam().transports).find("posix") != std::string::npos) {
    GTEST_SKIP() << "shared memory does not outlive a death in the middle of a write";
  }
  size_t lost = 0;
  const auto is_lost = [&] {
    ++lost;
    return inbox_.losses(lost).size() == lost;
  };
  for (int round = 0; round < 10; ++round) {
    {
      Peer dying(GetParam(), "flood");
      ASSERT_TRUE(dying.meet(*plane_));
      ASSERT_FALSE(inbox_.parcels(500).empty());
      dying.kill();
      ASSERT_TRUE(is_lost());
    }
    inbox_.forget();
    {
      Peer successor(GetParam(), "echo");
      ASSERT_TRUE(successor.meet(*plane_));
      send({5, 1 << 20});
      ASSERT_EQ(inbox_.parcels(2).size(), 2u) << "round " << round;
    }
    ASSERT_TRUE(is_lost());
    inbox_.forget();
  }
}

TEST_P(UcxProcessTest, APeerThatCameBackIsAnotherPlane) {
  {
    Peer peer(GetParam(), "echo");
    ASSERT_TRUE(peer.meet(*plane_));
    send({5});
    ASSERT_EQ(inbox_.parcels(1).size(), 1u);
    peer.kill();
    ASSERT_EQ(inbox_.losses(1).size(), 1u);
  }
  inbox_.forget();
  Peer successor(GetParam(), "echo");
  ASSERT_TRUE(successor.meet(*plane_));

  send({1 << 20});

  EXPECT_EQ(inbox_.parcels(1).size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(UcxWires, UcxProcessTest, testing::ValuesIn(ucx_wires()), wire_name);

}  // namespace
}  // namespace troupe::tests
