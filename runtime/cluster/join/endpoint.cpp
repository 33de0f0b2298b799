#include "runtime/cluster/join/endpoint.h"

#include <arpa/inet.h>

#include <charconv>

#include "runtime/cluster/cluster_error.h"

namespace troupe::runtime {

Endpoint parse_endpoint(std::string_view text) {
  const auto wrong = [&](const char* wanted) {
    return ClusterError("found the address '" + std::string(text) + "', wanted " + wanted);
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) throw wrong("HOST:PORT, as in 10.0.0.1:7070");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    throw wrong("brackets around a host with colons, as in [::1]:7070");
  }
  if (host.empty()) throw wrong("a host before the colon, as in 10.0.0.1:7070");
  Endpoint endpoint{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc() || end != port.data() + port.size()) {
    throw wrong("a port of 0 to 65535 behind the colon");
  }
  return endpoint;
}

std::string to_string(const Endpoint& endpoint) {
  const bool has_colons = endpoint.host.find(':') != std::string::npos;
  return (has_colons ? "[" + endpoint.host + "]" : endpoint.host) + ":" +
         std::to_string(endpoint.port);
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr four{};
  if (inet_pton(AF_INET, host.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  in6_addr six{};
  return inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six) != 0;
}

}  // namespace troupe::runtime
