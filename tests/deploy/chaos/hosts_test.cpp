#include "deploy/chaos/hosts.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "deploy/process/children.h"

namespace troupe::tests {
namespace {

using deploy::Hosts;

/// A socket for datagrams at port 7000 of a host.
class Mailbox {
 public:
  Mailbox(const Hosts& hosts, int host) {
    std::thread([&] {
      if (::setns(hosts.network(host), CLONE_NEWNET) != 0) return;
      socket_ = ::socket(AF_INET, SOCK_DGRAM, 0);
      const sockaddr_in own = at(hosts.address(host));
      EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
    }).join();
  }
  ~Mailbox() { ::close(socket_); }

  /// Whether a letter to `to`, who has that address, arrives at last: who does not know where an address is asks once
  /// in a second.
  bool reaches(const Mailbox& to, const std::string& address) const { return send(to, address, 200); }
  /// Whether none of the letters of a second arrives.
  bool misses(const Mailbox& to, const std::string& address) const { return !send(to, address, 20); }

 private:
  bool send(const Mailbox& to, const std::string& address, int letters) const {
    const sockaddr_in there = at(address);
    char letter = 0;
    while (::recv(to.socket_, &letter, 1, MSG_DONTWAIT) == 1) {  // sent before, with another that was waited for
    }
    for (int i = 0; i < letters; ++i) {
      static_cast<void>(::sendto(socket_, "x", 1, 0, reinterpret_cast<const sockaddr*>(&there), sizeof there));
      pollfd one{to.socket_, POLLIN, 0};
      if (::poll(&one, 1, 50) <= 0) continue;
      return ::recv(to.socket_, &letter, 1, 0) == 1;
    }
    return false;
  }
  static sockaddr_in at(const std::string& address) {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(7000);
    ::inet_pton(AF_INET, address.c_str(), &place.sin_addr);
    return place;
  }
  int socket_ = -1;
};

class HostsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Hosts::why_none(); !why.empty()) GTEST_SKIP() << why;
  }
  const std::filesystem::path folder_ = testing::TempDir();
};

TEST_F(HostsTest, ReachEachOtherUnlessACableIsCut) {
  const Hosts hosts(3, folder_ / "hosts.log");
  const Mailbox first(hosts, 0), second(hosts, 1), third(hosts, 2);
  EXPECT_TRUE(first.reaches(second, hosts.address(1)));

  hosts.cut(1);
  EXPECT_TRUE(first.misses(second, hosts.address(1)));
  EXPECT_TRUE(second.misses(first, hosts.address(0)));
  EXPECT_TRUE(first.reaches(third, hosts.address(2)));

  hosts.mend(1);
  EXPECT_TRUE(first.reaches(second, hosts.address(1)));
}

TEST_F(HostsTest, AMuteHostHearsAndIsNotHeard) {
  const Hosts hosts(2, folder_ / "hosts.log");
  const Mailbox first(hosts, 0), second(hosts, 1);
  EXPECT_TRUE(second.reaches(first, hosts.address(0)));

  hosts.mute(1);
  hosts.mute(1);  // as often as is said
  EXPECT_TRUE(second.misses(first, hosts.address(0)));
  EXPECT_TRUE(first.reaches(second, hosts.address(1)));

  hosts.unmute(1);
  EXPECT_TRUE(second.reaches(first, hosts.address(0)));
}

// The program that is started is this test.
TEST(OnAHost, DISABLED_Says) {
  char name[64] = {};
  ::gethostname(name, sizeof name - 1);
  EXPECT_STREQ(name, "host-1");
  EXPECT_LT(::getpid(), 10);
}

TEST_F(HostsTest, HaveNamesAndProcessNumbersOfTheirOwn) {
  const Hosts hosts(2, folder_ / "hosts.log");
  const auto over = folder_ / "hosts_over";
  std::filesystem::remove(over);
  int status = -1;

  deploy::run_children({{"says", {"--gtest_filter=OnAHost.DISABLED_Says", "--gtest_also_run_disabled_tests"},
                         folder_ / "hosts_child.log", hosts.on(1, false, over)}},
                       1, [&](const deploy::Child&, const deploy::ChildEnd& end) { status = end.status; });

  EXPECT_EQ(status, 0);
  EXPECT_TRUE(std::filesystem::exists(over));
}

}  // namespace
}  // namespace troupe::tests
