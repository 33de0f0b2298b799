// How a node notices that the process that leads its run is silent.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "runtime/cluster/join/frame_socket.h"
#include "runtime/cluster/watch/heartbeats.h"

namespace troupe::deploy {

class LeaderWatch {
 public:
  struct Args {
    const wire::NodeStart& start;
    runtime::Secret secret;
    std::shared_ptr<runtime::FrameSocket> socket;  ///< to the leader
  };
  /// The leader gets signs of life of this process from now on. Throws ClusterError.
  explicit LeaderWatch(const Args& args);

  /// Why the leader is given up; empty: it is not.
  std::string verdict() const;

 private:
  /// Whoever waits for what the leader says finds that it has gone, and looks for the one that leads
  /// next.
  void give_up(const std::string& why);

  const std::shared_ptr<runtime::FrameSocket> socket_;
  mutable std::mutex mutex_;
  std::string verdict_;
  runtime::Heartbeats heartbeats_;
};

}  // namespace troupe::deploy
