// Requests by HTTP/1.1 to a service that a run asks now and then: one connection each.
#pragma once

#include <string>

#include "runtime/cluster/join/frame_socket.h"

namespace troupe::runtime {

struct HttpReply {
  int status = 0;
  std::string body;
};

/// Throws ClusterError: nobody is there, has answered in time, or speaks HTTP. Whether the request has
/// been carried out is then not known. Who does not listen yet is waited for.
HttpReply http_post(const Endpoint& to, const std::string& path, const std::string& body,
                    Deadline deadline);

}  // namespace troupe::runtime
