// The nodes of a run as the process that leads it has them: who is there, what they report, who is
// gone. Process p is node p - 1.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cluster/join.h"

namespace troupe::runtime {

class Members {
 public:
  struct Events {
    std::function<void(int process, const wire::Event&)> happened;
    /// A node is gone, or cannot go on; once for each, and nothing of it comes behind it.
    std::function<void(int process, const std::string& why)> lost;
  };

  explicit Members(std::vector<Member> nodes);
  /// Nodes that were not told of an end see the sockets close.
  ~Members();
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  int count() const { return static_cast<int>(nodes_.size()); }
  const wire::NodeFacts& facts(int process) const { return node(process).facts; }
  /// "process 2 (node-b, pid 4711)".
  std::string describe(int process) const;

  /// Tells a node its part.
  void start(int process, const Secret& secret, const wire::NodeStart& start);
  /// Throws ClusterError: which node is gone, cannot begin and why, or is late. Events that come
  /// before are passed on when they are watched.
  void wait_until_ready(Deadline deadline);
  /// From now on events are called, on a thread of this object.
  void watch(Events events);
  /// The run has ended: tells everybody, and waits until they have gone or the deadline has come.
  /// Nothing is called any more.
  void finish(const std::string& why, Deadline deadline);

 private:
  const Member& node(int process) const { return nodes_[static_cast<size_t>(process - 1)]; }
  Member& node(int process) { return nodes_[static_cast<size_t>(process - 1)]; }
  void watch_loop();
  /// False when nothing more is to come of a node.
  bool hear(int process);
  void stop_watching();

  std::vector<Member> nodes_;
  std::vector<bool> is_lost_;
  std::vector<std::pair<int, wire::Event>> early_;  // before they are watched
  Events events_;
  int wake_ = -1;  // eventfd: the thread shall end
  std::thread thread_;
};

}  // namespace troupe::runtime
