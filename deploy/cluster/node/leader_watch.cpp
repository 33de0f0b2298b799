#include "deploy/cluster/node/leader_watch.h"

#include <sys/socket.h>

namespace troupe::deploy {

LeaderWatch::LeaderWatch(const Args& args)
    : socket_(args.socket),
      heartbeats_({.process = args.start.process(),
                   .life = args.start.lives(args.start.process()),
                   .seal = {args.secret, args.start.control_token()},
                   .at = {args.socket->own_host(), 0},
                   .events = {.suspected =
                                  [this](const runtime::Suspicion& suspicion) {
                                    give_up(socket_->peer() + " is " + describe(suspicion));
                                  },
                              .unheard = {}}}) {
  heartbeats_.watch(0, args.start.lives(0),
                    runtime::Endpoint{args.socket->peer_host(),
                                      static_cast<uint16_t>(args.start.heartbeat_port())});
}

void LeaderWatch::give_up(const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    verdict_ = why;
  }
  ::shutdown(socket_->file(), SHUT_RD);
}

std::string LeaderWatch::verdict() const {
  std::lock_guard lock(mutex_);
  return verdict_;
}

}  // namespace troupe::deploy
