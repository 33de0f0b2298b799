#include "kernels/cuda/device/gpu_claim.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace troupe::kernels::cuda {
namespace {

/// Binds a socket to a name that no file has: it goes with the process that holds it. False if another holds it.
/// Where names cannot be bound at all nobody holds any, and it is true.
bool hold(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);  // behind the zero that marks such names
  const int held = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (held < 0) return true;
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (::bind(held, reinterpret_cast<const sockaddr*>(&address), bytes) == 0) return true;
  const bool is_taken = errno == EADDRINUSE;
  ::close(held);
  return !is_taken;
}

}  // namespace

size_t claim_gpu(std::span<const std::string> names) {
  for (int place = 0;; ++place) {
    for (size_t gpu = 0; gpu < names.size(); ++gpu) {
      if (hold("troupe-gpu-" + names[gpu] + "-" + std::to_string(place))) return gpu;
    }
  }
}

}  // namespace troupe::kernels::cuda
