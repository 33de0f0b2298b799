// "HOST:PORT", "[::1]:PORT", as a user writes where a process listens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::runtime {

struct Endpoint {
  std::string host;
  uint16_t port = 0;  ///< 0: any that is free

  bool operator==(const Endpoint&) const = default;
};

/// Throws ClusterError: what was found, what was wanted.
Endpoint parse_endpoint(std::string_view text);
std::string to_string(const Endpoint& endpoint);

/// True if only processes of this machine reach the host: a numeric loopback address, or "localhost".
bool is_loopback(const std::string& host);

}  // namespace troupe::runtime
