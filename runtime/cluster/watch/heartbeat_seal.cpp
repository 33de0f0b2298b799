#include "runtime/cluster/watch/heartbeat_seal.h"

namespace troupe::runtime {
namespace {

constexpr const char* speaker = "troupe heartbeat";

}  // namespace

std::string HeartbeatSeal::seal(const wire::Heartbeat& heartbeat) const {
  wire::SignedHeartbeat signed_one;
  signed_one.set_heartbeat(heartbeat.SerializeAsString());
  signed_one.set_proof(secret_.prove(speaker, session_, signed_one.heartbeat()));
  return signed_one.SerializeAsString();
}

std::optional<wire::Heartbeat> HeartbeatSeal::open(std::string_view datagram) const {
  wire::SignedHeartbeat signed_one;
  wire::Heartbeat heartbeat;
  if (!signed_one.ParseFromArray(datagram.data(), static_cast<int>(datagram.size())) ||
      !secret_.is_proof(signed_one.proof(), speaker, session_, signed_one.heartbeat()) ||
      !heartbeat.ParseFromString(signed_one.heartbeat())) {
    return std::nullopt;
  }
  return heartbeat;
}

}  // namespace troupe::runtime
