#include "deploy/chaos/hosts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "deploy/chaos/own_mounts.h"

namespace troupe::deploy {
namespace {

constexpr const char* device = "eth0";

std::string path_of(int file) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file);
}

std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Adds lines of a shell to run in a network.
std::string in(int network, const std::string& lines) {
  return "nsenter --net=" + path_of(network) + " sh -ec " + in_quotes(lines) + "\n";
}

/// A line that waits until an end of a cable carries, and fails after ten seconds. The kernel says so some time after
/// both ends were set up, and loses what is sent before: a request for an address then comes again a second later.
std::string await_end(const std::string& end) {
  return "until ip link show " + end + " | grep -q 'state UP'; do waits=x$waits; test ${#waits} -lt 1000 || { ip link show " +
         end + "; exit 1; }; sleep 0.01; done";
}

void run(const std::string& script, const std::filesystem::path& log) {
  const std::string line = "sh -c " + in_quotes("set -e\n" + script) + " > " + in_quotes(log.string()) + " 2>&1";
  if (std::system(line.c_str()) == 0) return;
  std::ifstream said(log);
  throw std::runtime_error("cannot make hosts: " + std::string(std::istreambuf_iterator<char>(said), {}));
}

}  // namespace

std::string Hosts::why_none() {
  for (const char* tool : {"ip", "nsenter", "setpriv", "unshare"}) {
    const std::string line = std::string("command -v ") + tool + " > /dev/null 2>&1";
    if (std::system(line.c_str()) != 0) return std::string("found no program ") + tool + " (iproute2, util-linux)";
  }
  if (const std::string why = get_own_mounts(); !why.empty()) return "networks of their own: " + why;
  try {
    const Place place = make_place();
    ::close(place.network);
    ::close(place.socket);
    return "";
  } catch (const std::system_error& error) {
    return error.what();
  }
}

/// A thread goes into a new one, and leaves a file of it behind.
Hosts::Place Hosts::make_place() {
  Place place;
  int error = 0;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0) {
      place.network = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
      place.socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
    error = errno;
  }).join();
  if (place.network >= 0 && place.socket >= 0) return place;
  errno = error;
  fail("no network of its own");
}

Hosts::Hosts(int count, const std::filesystem::path& log) : switch_(make_place()) {
  std::string script = in(switch_.network, "ip link add switch type bridge; ip link set switch up");
  for (int h = 0; h < count; ++h) {
    hosts_.push_back(make_place());
    const std::string cable = "host-" + std::to_string(h);
    script += in(switch_.network, "ip link add " + cable + " type veth peer name " + device + " netns " +
                                      path_of(network(h)) + "; ip link set " + cable + " master switch up");
    script += in(network(h), std::string("ip link set lo up; ip address add ") + address(h) + "/16 dev " + device +
                                 "; ip link set " + device + " up");
  }
  for (int h = 0; h < count; ++h) {
    script += in(switch_.network, await_end("host-" + std::to_string(h))) + in(network(h), await_end(device));
  }
  run(script, log);
}

Hosts::~Hosts() {
  hosts_.push_back(switch_);
  for (const Place& place : hosts_) {
    ::close(place.network);
    ::close(place.socket);
  }
}

std::string Hosts::address(int host) const {
  return "10.77." + std::to_string(host / 250) + "." + std::to_string(1 + host % 250);
}

std::vector<std::string> Hosts::on(int host, bool is_again, const std::filesystem::path& over) const {
  const std::string file = in_quotes(over.string());
  const std::string script =
      "echo host-" + std::to_string(host) + " > /proc/sys/kernel/hostname; mount -t tmpfs none /dev/shm || exit 1; " +
      (is_again ? "until \"$@\" || test -e " + file + "; do sleep 0.1; done"
                : "\"$@\"; code=$?; touch " + file + "; exit $code");
  std::vector<std::string> words{"setpriv", "--pdeathsig", "KILL", "nsenter", "--net=" + path_of(network(host)), "unshare"};
  for (const char* own : {"--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"}) words.push_back(own);
  words.insert(words.end(), {"sh", "-c", script, "sh"});
  return words;
}

void Hosts::set_cable(int host, bool is_whole) const {
  ifreq request{};
  const std::string cable = "host-" + std::to_string(host);
  std::memcpy(request.ifr_name, cable.c_str(), cable.size() + 1);
  if (::ioctl(switch_.socket, SIOCGIFFLAGS, &request) != 0) fail("cable " + cable);
  const int up = IFF_UP;
  request.ifr_flags = static_cast<short>(is_whole ? request.ifr_flags | up : request.ifr_flags & ~up);
  if (::ioctl(switch_.socket, SIOCSIFFLAGS, &request) != 0) fail("cable " + cable);
}

/// It takes the others to be at an address of Ethernet that nobody has.
void Hosts::set_voice(int host, bool is_heard) const {
  for (int other = 0; other < static_cast<int>(hosts_.size()); ++other) {
    if (other == host) continue;
    arpreq request{};
    sockaddr_in there{};
    there.sin_family = AF_INET;
    ::inet_pton(AF_INET, address(other).c_str(), &there.sin_addr);
    std::memcpy(&request.arp_pa, &there, sizeof there);
    request.arp_ha.sa_family = ARPHRD_ETHER;
    const unsigned char nobody[] = {2, 0, 0, 0, 0, 99};
    std::memcpy(request.arp_ha.sa_data, nobody, sizeof nobody);
    std::memcpy(request.arp_dev, device, std::strlen(device) + 1);
    request.arp_flags = ATF_PERM | ATF_COM;
    const int socket = hosts_[static_cast<size_t>(host)].socket;
    const bool is_set = ::ioctl(socket, is_heard ? SIOCDARP : SIOCSARP, &request) == 0;
    if (!is_set && !(is_heard && errno == ENXIO)) fail("the addresses that host-" + std::to_string(host) + " sends to");
  }
}

}  // namespace troupe::deploy
