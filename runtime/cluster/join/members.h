// The nodes of a run as the process that leads it has them: who is there, what they report, who is
// gone. Process p is node p - 1.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cluster/join/join.h"

namespace troupe::runtime {

class Members {
 public:
  struct Events {
    std::function<void(int process, const wire::Event&)> happened;
    /// A node is gone, or cannot go on; once for each, and nothing of it comes behind it.
    std::function<void(int process, const std::string& why)> lost;
    /// A node reaches, or does not reach any more, another process.
    std::function<void(int process, const wire::Peer& peer)> connected, unreachable;
  };

  explicit Members(std::vector<Member> nodes);
  /// Nodes that were not told of an end see the sockets close.
  ~Members();
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  int count() const { return static_cast<int>(nodes_.size()); }
  wire::NodeFacts facts(int process) const;
  /// "process 2 (node-b, pid 4711)".
  std::string describe(int process) const;
  static std::string describe(int process, const wire::NodeFacts& facts);

  /// Tells a node its part.
  void start(int process, const Secret& secret, const wire::NodeStart& start);
  /// Throws ClusterError: which node is gone, cannot begin and why, or is late. Events that come
  /// before are passed on when they are watched.
  void wait_until_ready(Deadline deadline);
  /// They have the blocks that they get. Throws as wait_for_moved.
  void wait_until_moved(Deadline deadline);
  /// Nothing comes of one any more: whoever waits for it finds that at once.
  void cut(int process);
  /// From now on events are called, on a thread of this object.
  void watch(Events events);
  /// To every node that is there.
  void tell(const wire::JoinFrame& frame);
  /// Closes the connection to one: if it is still there, it ends. Nothing of it comes behind this.
  void drop(int process);
  /// Another node, which is ready, takes the place of one that was dropped.
  void replace(int process, Member node);
  /// The run has ended: tells everybody, and waits until they have gone or the deadline has come.
  /// Nothing is called any more.
  void finish(const std::string& why, Deadline deadline);
  /// It goes on with other processes, or from another state: all are told to come again. Nothing is called
  /// any more. To be followed by wait_until_gone: a connection that is closed before takes the word with it.
  void part(const std::string& why);
  void wait_until_gone(Deadline deadline);
  /// Another leads them: connections close, nothing is said or called any more.
  void abandon();

 private:
  using MemberPtr = std::shared_ptr<Member>;
  MemberPtr node(int process) const;  // null: it is lost
  void watch_loop();
  /// False when nothing more is to come of a node.
  bool hear(int process, Member& member);
  void lose(int process, const MemberPtr& member);
  void wake();
  void stop_watching();

  mutable std::mutex mutex_;
  std::vector<MemberPtr> nodes_;            // null: it is lost
  std::vector<wire::NodeFacts> facts_;      // of each, or of the last one
  std::vector<std::pair<int, wire::Event>> early_;  // before they are watched
  Events events_;
  std::atomic<bool> is_over_{false};
  int wake_ = -1;  // eventfd: the thread shall look again
  std::thread thread_;
};

}  // namespace troupe::runtime
