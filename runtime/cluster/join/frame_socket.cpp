#include "runtime/cluster/join/frame_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

namespace troupe::runtime {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds retry_time{100};

std::string text_of(int error) { return std::strerror(error); }

/// Waits for events of a file; false: not until the deadline.
bool wait_for(int file, short events, Deadline deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd one{file, events, 0};
    const int n = ::poll(&one, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30)));
    if (n > 0) return true;
    if (n == 0) return false;
    if (errno != EINTR) throw ClusterError("cannot wait for a socket: " + text_of(errno));
  }
}

/// Small frames at once; a host that has gone silent is noticed.
void set_up(int file) {
  const auto set = [file](int level, int option, int value) {
    ::setsockopt(file, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 2);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
}

struct AddressList {
  addrinfo* first = nullptr;
  ~AddressList() {
    if (first) ::freeaddrinfo(first);
  }
};

void resolve(const Endpoint& endpoint, bool to_listen, AddressList& list) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = to_listen ? AI_PASSIVE : 0;
  const int error = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(),
                                  &hints, &list.first);
  if (error != 0) {
    throw ClusterError("cannot find the host '" + endpoint.host + "': " + ::gai_strerror(error));
  }
}

/// A connected socket, or -1 and errno.
int try_to_connect(const addrinfo& address, Deadline deadline) {
  const int file = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return -1;
  int error = 0;
  if (::connect(file, address.ai_addr, address.ai_addrlen) != 0) {
    error = errno;
    if (error == EINPROGRESS) {
      socklen_t size = sizeof error;
      error = ETIMEDOUT;
      if (wait_for(file, POLLOUT, deadline)) ::getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  if (error == 0) return file;
  ::close(file);
  errno = error;
  return -1;
}

}  // namespace

FrameSocket FrameSocket::connect(const Endpoint& to, Deadline deadline) {
  AddressList addresses;
  resolve(to, false, addresses);
  int error = 0;
  do {
    for (const addrinfo* one = addresses.first; one; one = one->ai_next) {
      const int file = try_to_connect(*one, deadline);
      if (file >= 0) return FrameSocket(file, to_string(to));
      error = errno;
    }
    std::this_thread::sleep_for(retry_time);
  } while (std::chrono::steady_clock::now() < deadline);
  throw ClusterError("cannot reach " + to_string(to) + ": " + text_of(error));
}

FrameSocket::FrameSocket(int file, std::string peer) : file_(file), peer_(std::move(peer)) {
  ::fcntl(file, F_SETFL, ::fcntl(file, F_GETFL) | O_NONBLOCK);
  set_up(file);
}

FrameSocket::FrameSocket(FrameSocket&& other) noexcept
    : file_(std::exchange(other.file_, -1)), peer_(std::move(other.peer_)), limit_(other.limit_),
      send_patience_(other.send_patience_) {}

FrameSocket::~FrameSocket() {
  if (file_ >= 0) ::close(file_);
}

namespace {

/// In numbers; empty: there is none (any more).
std::string host_of(int (*get_name)(int, sockaddr*, socklen_t*), int file) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST] = {};
  if (get_name(file, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return "";
  }
  return host;
}

}  // namespace

std::string FrameSocket::peer_host() const {
  const std::string host = host_of([](int f, sockaddr* a, socklen_t* s) { return ::getpeername(f, a, s); }, file_);
  if (host.empty()) throw ClusterError(peer_ + " is gone");
  return host;
}

std::string FrameSocket::own_host() const {
  const std::string host = host_of([](int f, sockaddr* a, socklen_t* s) { return ::getsockname(f, a, s); }, file_);
  if (host.empty()) throw ClusterError(peer_ + " is gone");
  return host;
}

void FrameSocket::send(const wire::JoinFrame& frame) {
  const std::string body = frame.SerializeAsString();
  const auto size = static_cast<uint32_t>(body.size());
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(size >> 8 * i);
  bytes += body;
  std::lock_guard lock(sending_);
  try {
    send_all(bytes);
  } catch (const ClusterError&) {
    ::shutdown(file_, SHUT_RDWR);
    throw;
  }
}

void FrameSocket::send_all(const std::string& bytes) {
  const Deadline deadline = within(send_patience_);
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(file_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(file_, POLLOUT, deadline)) {
        throw ClusterError(peer_ + " has not taken what it was sent within " +
                           std::to_string(send_patience_.count()) + " ms");
      }
    } else if (errno != EINTR) {
      throw ClusterError(peer_ + " is gone: " + text_of(errno));
    }
  }
}

void FrameSocket::receive_all(char* data, size_t size, Deadline deadline) {
  while (size > 0) {
    const ssize_t n = ::recv(file_, data, size, 0);
    if (n > 0) {
      data += n;
      size -= static_cast<size_t>(n);
    } else if (n == 0) {
      throw ClusterError(peer_ + " is gone: it has closed the connection");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(file_, POLLIN, deadline)) throw ClusterError(peer_ + " has not answered in time");
    } else if (errno != EINTR) {
      throw ClusterError(peer_ + " is gone: " + text_of(errno));
    }
  }
}

namespace {

using FrameHeader = std::array<unsigned char, 4>;  // bytes of the body, little-endian

uint32_t size_in(const FrameHeader& header) {
  uint32_t size = 0;
  for (size_t i = 0; i < header.size(); ++i) size |= static_cast<uint32_t>(header[i]) << 8 * i;
  return size;
}

}  // namespace

bool FrameSocket::has_frame() const {
  pollfd state{file_, POLLIN | POLLRDHUP, 0};
  if (::poll(&state, 1, 0) <= 0) return false;
  if ((state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) return true;
  FrameHeader header{};
  if (::recv(file_, header.data(), header.size(), MSG_PEEK) != static_cast<ssize_t>(header.size())) {
    return false;
  }
  int bytes = 0;
  const uint32_t size = size_in(header);
  return size > limit_ || ::ioctl(file_, FIONREAD, &bytes) != 0 ||
         static_cast<uint64_t>(bytes) >= header.size() + size;
}

wire::JoinFrame FrameSocket::receive(Deadline deadline) {
  FrameHeader header{};
  receive_all(reinterpret_cast<char*>(header.data()), header.size(), deadline);
  const uint32_t size = size_in(header);
  if (size > limit_) {
    throw ClusterError(peer_ + " does not speak this protocol: found a frame of " +
                       std::to_string(size) + " bytes, wanted " + std::to_string(limit_) +
                       " at most");
  }
  std::string body(size, '\0');
  receive_all(body.data(), size, deadline);
  wire::JoinFrame frame;
  if (!frame.ParseFromString(body) || frame.kind_case() == wire::JoinFrame::KIND_NOT_SET) {
    throw ClusterError(peer_ + " does not speak this protocol: found a frame of " +
                       std::to_string(size) + " bytes that is none of its messages");
  }
  return frame;
}

bool FrameSocket::wait(Deadline deadline) const { return wait_for(file_, POLLIN, deadline); }

bool FrameSocket::wait_to_send(Deadline deadline) const {
  return wait_for(file_, POLLOUT, deadline);
}

Listener::Listener(const Endpoint& at) : endpoint_(at) {
  AddressList addresses;
  resolve(at, true, addresses);
  const addrinfo& one = *addresses.first;
  file_ = ::socket(one.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  if (file_ >= 0) ::setsockopt(file_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (file_ < 0 || ::bind(file_, one.ai_addr, one.ai_addrlen) != 0 || ::listen(file_, 64) != 0) {
    const int error = errno;
    if (file_ >= 0) ::close(file_);
    throw ClusterError("cannot listen at " + to_string(at) + ": " + text_of(error) +
                       (error == EADDRINUSE ? " (port 0 takes any that is free)" : ""));
  }
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(file_, reinterpret_cast<sockaddr*>(&address), &size);
  endpoint_.port = ntohs(address.ss_family == AF_INET6
                             ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

Listener::~Listener() { ::close(file_); }

namespace {

/// Whether who had come is still there, and this process cannot take it now.
bool is_out_of_means(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

std::optional<FrameSocket> Listener::accept(Deadline deadline) {
  while (wait_for(file_, POLLIN, deadline)) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int file = ::accept4(file_, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC);
    if (file < 0 && is_out_of_means(errno)) {
      const int error = errno;
      if (std::chrono::steady_clock::now() + retry_time >= deadline) {
        throw ClusterError("cannot take a connection at " + to_string(endpoint_) + ": " + text_of(error));
      }
      std::this_thread::sleep_for(retry_time);
    }
    if (file < 0) continue;  // or who had come has gone
    char host[NI_MAXHOST] = {}, port[NI_MAXSERV] = {};
    ::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV);
    return FrameSocket(file, std::string(host) + ":" + port);
  }
  return std::nullopt;
}

}  // namespace troupe::runtime
