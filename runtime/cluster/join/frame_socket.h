// Protobuf frames over TCP: what joins and watches the processes of a run. Small and rare messages;
// tensors go by the data plane, requests by CAF.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/join/endpoint.h"
#include "runtime/proto/cluster.pb.h"

namespace troupe::runtime {

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline within(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

/// A connection. A peer whose host does not answer any more is found out by TCP within 10 s; one
/// that ends or is killed at once.
class FrameSocket {
 public:
  /// Tries until the deadline, also while nobody listens there yet. Throws ClusterError: where, why.
  static FrameSocket connect(const Endpoint& to, Deadline deadline);
  /// Takes over a connected socket; `peer` names it in errors.
  FrameSocket(int file, std::string peer);
  FrameSocket(FrameSocket&& other) noexcept;
  FrameSocket& operator=(FrameSocket&&) = delete;
  ~FrameSocket();

  const std::string& peer() const { return peer_; }
  void set_peer(std::string name) { peer_ = std::move(name); }
  int file() const { return file_; }
  /// The peer's address in numbers, without its port.
  std::string peer_host() const;
  /// This machine's address by which the peer is reached, likewise.
  std::string own_host() const;

  /// From any thread. Throws ClusterError when the peer is gone, or has not taken it within 10 s. The
  /// connection is over then: behind half a frame nothing makes sense, so the peer, and whoever receives
  /// here, find it closed.
  void send(const wire::JoinFrame& frame);
  /// Throws ClusterError: the peer is gone, is late, or has sent what is no frame or a larger one
  /// than it may.
  wire::JoinFrame receive(Deadline deadline);
  /// True if there is something to receive, or the peer is gone.
  bool wait(Deadline deadline) const;
  /// True if `receive` would not wait: a whole frame is there, or none will come.
  bool has_frame() const;
  /// True if it takes more to send, or the peer is gone.
  bool wait_to_send(Deadline deadline) const;

  /// What may come is small until the peer is known.
  void set_limit(uint32_t bytes) { limit_ = bytes; }
  /// How long a peer may take to take what it is sent.
  void set_send_patience(std::chrono::milliseconds time) { send_patience_ = time; }

  static constexpr uint32_t stranger_limit = 64 << 10, member_limit = 64 << 20;

 private:
  void send_all(const std::string& bytes);
  void receive_all(char* data, size_t size, Deadline deadline);

  int file_;
  std::string peer_;
  uint32_t limit_ = stranger_limit;
  std::chrono::milliseconds send_patience_{10'000};
  std::mutex sending_;
};

class Listener {
 public:
  /// Throws ClusterError: the port is in use, the host is none of this machine's, ...
  explicit Listener(const Endpoint& at);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  const Endpoint& endpoint() const { return endpoint_; }  ///< with the port that it got
  int file() const { return file_; }
  /// None: nobody came until the deadline. Throws ClusterError: somebody did and could not be taken, as
  /// when this process has too many open files; why.
  std::optional<FrameSocket> accept(Deadline deadline);

 private:
  Endpoint endpoint_;
  int file_ = -1;
};

}  // namespace troupe::runtime
