// How a node finds the process that leads its run, and notices that another does, where a lease says so
// (runtime/cluster/lease/lease_rules.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "runtime/cluster/join/frame_socket.h"
#include "runtime/cluster/lease/lease.h"

namespace troupe::deploy {

/// The run has ended, which its lease says.
class RunHasEnded : public runtime::ClusterError {
 public:
  explicit RunHasEnded(const wire::LeasedEnd& end)
      : ClusterError("the run has ended: " + end.text()), has_failed(end.has_failed()) {}
  const bool has_failed;
};

class LeaderSearch {
 public:
  explicit LeaderSearch(const runtime::LeasePlace& place);
  ~LeaderSearch();
  LeaderSearch(const LeaderSearch&) = delete;
  LeaderSearch& operator=(const LeaderSearch&) = delete;

  struct Found {
    std::shared_ptr<runtime::FrameSocket> socket;
    runtime::Endpoint at;
    uint64_t term;
  };
  /// A connection to whoever leads, which is watched from then on. Throws RunHasEnded, but for who has never
  /// found anybody: the run may be about to go on; ClusterError:
  /// nobody has led, and could be reached, until the deadline, or until it is to stop.
  Found find(runtime::Deadline deadline, const std::atomic<bool>& is_stopped);

  using SocketPtr = std::shared_ptr<runtime::FrameSocket>;
  /// From now on: when somebody leads in a later term, and elsewhere, nothing is received by this connection
  /// any more.
  void watch(const SocketPtr& to, const runtime::Endpoint& at, uint64_t term);
  /// Who leads in a later term than that is watched; empty: nobody, as far as is known.
  std::string verdict() const;
  /// How often etcd has said who leads, while somebody was watched.
  uint64_t looks() const;

 private:
  bool has_found() const;
  void loop();

  const runtime::LeasePlace place_;
  const runtime::LeaseRules rules_;
  runtime::EtcdClient client_;  // of who calls
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  SocketPtr watched_;
  std::string address_;  // of who is watched
  uint64_t term_ = 0;
  std::string verdict_;
  uint64_t looks_ = 0;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace troupe::deploy
