// Datagrams over UDP: each arrives whole, late, or not at all.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

#include "runtime/cluster/join/endpoint.h"

namespace troupe::runtime {

class DatagramSocket {
 public:
  struct Address {
    sockaddr_storage at{};
    socklen_t size = 0;
  };
  struct Datagram {
    std::string bytes;
    Address from;
  };

  /// Throws ClusterError: the host is none of this machine's, the port is in use.
  explicit DatagramSocket(const Endpoint& at);
  ~DatagramSocket();
  DatagramSocket(const DatagramSocket&) = delete;
  DatagramSocket& operator=(const DatagramSocket&) = delete;

  int file() const { return file_; }
  uint16_t port() const { return port_; }
  /// Of a host that this socket can send to. Throws ClusterError: there is none.
  Address find(const Endpoint& endpoint) const;

  /// Does not block: what cannot be sent now is lost, as what gets lost on the way.
  void send(const Address& to, std::string_view bytes) const;
  /// Does not block. Of more than 512 bytes the rest is cut off.
  std::optional<Datagram> receive() const;

 private:
  int file_ = -1;
  int family_ = AF_UNSPEC;
  uint16_t port_ = 0;
};

}  // namespace troupe::runtime
