#include "runtime/cluster/watch/datagram_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/cluster/cluster_error.h"

namespace troupe::runtime {
namespace {

DatagramSocket::Address resolve(const Endpoint& endpoint, int family, int flags) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int error =
      ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (error != 0) {
    throw ClusterError("cannot find the host '" + endpoint.host + "': " + ::gai_strerror(error));
  }
  DatagramSocket::Address address;
  address.size = list->ai_addrlen;
  std::memcpy(&address.at, list->ai_addr, list->ai_addrlen);
  ::freeaddrinfo(list);
  return address;
}

sockaddr* raw(const DatagramSocket::Address& address) {
  return reinterpret_cast<sockaddr*>(const_cast<sockaddr_storage*>(&address.at));
}

}  // namespace

DatagramSocket::DatagramSocket(const Endpoint& at) {
  const Address own = resolve(at, AF_UNSPEC, AI_PASSIVE);
  family_ = own.at.ss_family;
  file_ = ::socket(family_, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file_ < 0 || ::bind(file_, raw(own), own.size) != 0) {
    const int error = errno;
    if (file_ >= 0) ::close(file_);
    throw ClusterError("cannot wait for datagrams at " + to_string(at) + ": " +
                       std::strerror(error));
  }
  // Before the data of the run, where a network tells them apart; refused, it is as all others.
  const int urgent = IPTOS_CLASS_CS6, priority = 6;
  ::setsockopt(file_, IPPROTO_IP, IP_TOS, &urgent, sizeof urgent);
  ::setsockopt(file_, IPPROTO_IPV6, IPV6_TCLASS, &urgent, sizeof urgent);
  ::setsockopt(file_, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority);
  Address bound;
  bound.size = sizeof bound.at;
  ::getsockname(file_, raw(bound), &bound.size);
  port_ = ntohs(family_ == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound.at).sin6_port
                                    : reinterpret_cast<sockaddr_in&>(bound.at).sin_port);
}

DatagramSocket::~DatagramSocket() { ::close(file_); }

DatagramSocket::Address DatagramSocket::find(const Endpoint& endpoint) const {
  return resolve(endpoint, family_, 0);
}

void DatagramSocket::send(const Address& to, std::string_view bytes) const {
  static_cast<void>(!::sendto(file_, bytes.data(), bytes.size(), MSG_NOSIGNAL, raw(to), to.size));
}

std::optional<DatagramSocket::Datagram> DatagramSocket::receive() const {
  char bytes[512];
  Datagram datagram;
  while (true) {
    datagram.from.size = sizeof datagram.from.at;
    const ssize_t size =
        ::recvfrom(file_, bytes, sizeof bytes, 0, raw(datagram.from), &datagram.from.size);
    if (size >= 0) {
      datagram.bytes.assign(bytes, static_cast<size_t>(size));
      return datagram;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR && errno != ECONNREFUSED) return std::nullopt;
  }
}

}  // namespace troupe::runtime
