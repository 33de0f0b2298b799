#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/cluster/join/secret.h"
#include "runtime/proto/cluster.pb.h"

namespace troupe::runtime {

/// Heartbeats of one run, which nobody without its secret can make.
class HeartbeatSeal {
 public:
  /// `session` is a number of the run that nobody could foresee.
  HeartbeatSeal(Secret secret, std::string session)
      : secret_(std::move(secret)), session_(std::move(session)) {}

  std::string seal(const wire::Heartbeat& heartbeat) const;
  /// None: it is no heartbeat of this run.
  std::optional<wire::Heartbeat> open(std::string_view datagram) const;

 private:
  const Secret secret_;
  const std::string session_;
};

}  // namespace troupe::runtime
