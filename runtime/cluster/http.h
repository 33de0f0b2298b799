// Requests by HTTP/1.1 (RFC 9112) to a service that a run asks now and then: one connection each.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/cluster/frame_socket.h"

namespace troupe::runtime {

struct HttpReply {
  int status = 0;
  std::string body;
};

/// A reply out of the bytes that have come; none: it is not all there. `has_ended`: nothing comes
/// behind them. Throws ClusterError for what is no reply.
std::optional<HttpReply> parse_http_reply(std::string_view bytes, bool has_ended);

/// Throws ClusterError: nobody is there, has answered in time, or speaks HTTP. Whether the request has
/// been carried out is then not known.
HttpReply http_post(const Endpoint& to, const std::string& path, const std::string& body,
                    Deadline deadline);

}  // namespace troupe::runtime
