// An etcd of a test's own, on this machine. It ends with the test, however that ends.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "config/text/paths.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/lease/etcd.h"
#include "runtime/cluster/lease/lease.h"
#include "tests/system/background.h"

namespace troupe::tests {

/// Empty: there is none here (deploy/install --tests brings one).
inline std::string etcd_program() {
  const std::string cached = (config::cache_folder() / "etcd/usr/bin/etcd").string();
  if (std::system("command -v etcd > /dev/null 2>&1") == 0) return "etcd";
  return std::filesystem::exists(cached) ? cached : "";
}
inline constexpr const char* why_no_etcd = "found no etcd on this machine";

/// Whether nobody listens there, nor is connected from there.
inline bool is_free(int port) {
  const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_bound = ::bind(file, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
  ::close(file);
  return is_bound;
}

/// A port that nobody has, of a moment ago. Below those that systems deal out by themselves, so that no
/// connection takes it meanwhile; processes begin at different ones.
inline int free_port() {
  static int next = 0;
  constexpr int first = 12'000, count = 20'000;
  for (int i = 0; i < count; ++i) {
    const int port = first + (::getpid() * 37 + next++) % count;
    if (is_free(port)) return port;
  }
  ADD_FAILURE() << "no port is free";
  return 0;
}

/// For a shell: etcd at `host`, with its data in `folder`. It goes before what is tested: a lease of 2 s that
/// ends because a machine is busy is no fault of a test's.
inline std::string etcd_line(const std::filesystem::path& folder, const std::string& host, int port,
                             int peer_port) {
  const std::string clients = "http://" + host + ":" + std::to_string(port);
  const std::string peers = "http://" + host + ":" + std::to_string(peer_port);
  return "exec nice -n -15 " + etcd_program() + " --data-dir '" + (folder / "etcd").string() +
         "' --listen-client-urls " + clients + " --advertise-client-urls " + clients +
         " --listen-peer-urls " + peers + " --initial-advertise-peer-urls " + peers +
         " --initial-cluster default=" + peers;
}

class EtcdServer {
 public:
  /// Its output goes to `folder`, its data into memory: tests do not wait for a disk.
  explicit EtcdServer(const std::filesystem::path& folder)
      : folder_(folder) {
    std::filesystem::create_directories(folder);
    std::string data = "/dev/shm/troupe-etcd-XXXXXX";
    if (::mkdtemp(data.data()) != nullptr) data_ = data;
    for (int i = 0; i < most_ports; ++i) {
      port_ = free_port();
      peer_port_ = free_port();
      if (is_started()) return;  // else somebody has taken a port meanwhile
      std::filesystem::remove_all(data_ / "etcd");
    }
    ADD_FAILURE() << "no etcd has begun\n" << process_->text();
  }
  ~EtcdServer() {
    process_.reset();
    std::filesystem::remove_all(data_);
  }
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  runtime::LeasePlace place(const std::string& name) const {
    return {{{"127.0.0.1", static_cast<uint16_t>(port_)}}, name, 2};
  }
  pid_t pid() const { return process_->pid(); }
  std::string text() const { return process_->text(); }

  /// With what was there before, at the same place; it answers when this returns.
  void start() { EXPECT_TRUE(is_started()) << process_->text(); }
  void kill() { process_->kill(SIGKILL); }

 private:
  static constexpr int most_ports = 10;

  /// False: it has ended. It is asked when it says that it is there: before, another might answer.
  bool is_started() {
    process_ = std::make_unique<Background>(
        "exec setpriv --pdeathsig KILL " + etcd_line(data_, "127.0.0.1", port_, peer_port_).substr(5),
        folder_ / "etcd_output");
    if (!process_->says("ready to serve client requests")) return false;
    try {
      runtime::EtcdClient(place("").servers, std::chrono::seconds(20)).run({});
    } catch (const runtime::ClusterError& error) {
      ADD_FAILURE() << error.what() << "\n" << process_->text();
    }
    return true;
  }

  const std::filesystem::path folder_;
  std::filesystem::path data_ = "/dev/shm/troupe-etcd";
  int port_ = 0, peer_port_ = 0;
  std::unique_ptr<Background> process_;
};

}  // namespace troupe::tests
