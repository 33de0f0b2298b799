// Several hosts on this machine: each has a network, a name, shared memory and an identity of its own, each of
// its programs process numbers of its own, and there is a cable from each to a switch. They live in namespaces of
// one process and end with it, however a test ends. No root is wanted where the kernel lets users have namespaces.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/system/background.h"

namespace troupe::tests {

class Hosts {
 public:
  /// The first has the address 10.0.0.1, the second 10.0.0.2, ... `folder` is for their output.
  Hosts(const std::vector<std::string>& names, const std::filesystem::path& folder)
      : folder_(folder), lab_(start_line(names), folder / "hosts") {
    if (!lab_.says("ready\n")) return;
    const std::string pid = std::to_string(lab_.pid());
    std::ifstream("/proc/" + pid + "/task/" + pid + "/children") >> inside_;
  }

  /// Empty: they are there.
  std::string why_none() const {
    return inside_ != 0 ? "" : "found no network namespaces on this machine: " + lab_.text();
  }

  /// For Background: `line` on a host. Files are those of this machine, but for /dev/shm.
  std::string on(const std::string& host, const std::string& line) const {
    return "exec " + enter() + "nsenter --net=/run/netns/" + host + " --uts=/run/" + host +
           "/uts --ipc=/run/" + host + "/ipc unshare --mount --pid --fork --kill-child --mount-proc sh -c " +
           quoted("mount -t tmpfs none /dev/shm && mount --bind /run/" + host +
                  "/boot /proc/sys/kernel/random/boot_id && " + line);
  }

  /// The program itself that a Background has on a host, as this machine numbers it.
  static pid_t program_of(const Background& background) {
    std::string pid = std::to_string(background.pid());
    for (std::string child = pid; !child.empty();) {
      pid = child;
      child.clear();
      std::ifstream("/proc/" + pid + "/task/" + pid + "/children") >> child;
    }
    return std::stoi(pid);
  }
  /// For Background: a cable that delays every frame and loses a share of them. It says "ready"
  /// when it is there, and "lost" for each frame that it loses.
  std::string bad_cable(double delay_ms, double loss) const {
    return "exec " + enter() + "python3 " TROUPE_SOURCE_DIR "/tests/system/bad_cable.py near far " +
           std::to_string(delay_ms) + " " + std::to_string(loss) + " 1";
  }
  /// That cable, once it is there, takes the place of a host's own.
  void use_bad_cable(const std::string& host) const {
    const std::string address = at_switch(
        "ip netns exec " + host + " ip -o -4 address show eth0 | grep -o '10[0-9./]*' | head -1");
    at_switch("set -e; ip link delete " + host + "; ip link set near master switch up; " +
              "ip link set far netns " + host + "; ip netns exec " + host + " sh -ec '" +
              "ip link set far name eth0; ip address add " + address.substr(0, address.find('\n')) +
              " dev eth0; ip link set eth0 up'");
  }

  /// What `line` prints at the switch, where the end of each host's cable has the host's name.
  std::string at_switch(const std::string& line) const {
    Background command("exec " + enter() + "sh -c " + quoted(line), folder_ / "switch");
    EXPECT_EQ(command.wait(), 0) << command.text();
    return command.text();
  }
  /// Bytes that have left the switch for a host.
  uint64_t sent_to(const std::string& host) const {
    const auto links = nlohmann::json::parse(at_switch("ip -s -j link show " + host));
    return links.at(0).at("stats64").at("tx").at("bytes").get<uint64_t>();
  }

 private:
  static constexpr const char* script = R"(set -e
mount -t tmpfs none /run
ip link add switch type bridge
ip link set switch up
number=0
for host in "$@"; do
  number=$((number + 1))
  ip netns add $host
  mkdir /run/$host
  touch /run/$host/uts /run/$host/ipc
  echo 00000000-0000-4000-8000-00000000000$number > /run/$host/boot
  ip link add $host type veth peer name eth0 netns $host
  ip link set $host master switch up
  nsenter --net=/run/netns/$host unshare --uts=/run/$host/uts --ipc=/run/$host/ipc sh -ec "
    hostname $host
    ip link set lo up
    ip address add 10.0.0.$number/24 dev eth0
    ip link set eth0 up"
done
echo ready
exec sleep infinity)";

  static bool is_root() { return ::geteuid() == 0; }
  /// A process id namespace, so that its first process takes all others along.
  static std::string start_line(const std::vector<std::string>& names) {
    std::string line = "exec setpriv --pdeathsig KILL unshare ";
    if (!is_root()) line += "--user --map-root-user ";
    line +=
        "--mount --net --pid --fork --kill-child --mount-proc sh -c " + quoted(script) + " hosts";
    for (const std::string& name : names) line += " " + name;
    return line;
  }
  std::string enter() const {
    return "nsenter --target " + std::to_string(inside_) +
           (is_root() ? "" : " --user --preserve-credentials") + " --mount --pid --net ";
  }
  static std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out + "'";
  }

  const std::filesystem::path folder_;
  Background lab_;
  pid_t inside_ = 0;  // the first process in there; 0: none
};

}  // namespace troupe::tests
