// How the process that leads a run notices that another one has ended or is silent, and makes sure
// that whoever it gives up can do no more harm.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/cluster/watch/exit_watch.h"
#include "runtime/cluster/watch/heartbeats.h"

namespace troupe::deploy {

class NodeWatch {
 public:
  /// On threads of this object; texts begin with the name of the process.
  struct Events {
    std::function<void(int process, uint32_t life, const std::string&how)> ended, silent;
    /// Nothing has ever come of it.
    std::function<void(int process, const std::string& what)> unheard;
  };
  struct Args {
    runtime::HeartbeatSeal seal;
    std::string host;  ///< where heartbeats are waited for
    /// Whoever is fenced and on this machine is killed. Not where others may lead: it may be theirs by then.
    bool kills;
    Events events;
  };
  /// Throws ClusterError.
  explicit NodeWatch(Args args);

  /// UDP, for heartbeats of nodes.
  uint16_t port() const { return heartbeats_.port(); }

  /// From now on a process is watched, in the place of who had its number.
  void take(int process, uint32_t life, const wire::NodeFacts& facts);
  /// How it ended, if it is on this machine and has, or does within a moment; empty: not known.
  std::string how_it_ended(int process) const;
  /// It is not watched any more. On this machine it is killed if it still lives (see Args), and waited for,
  /// so that it cannot write into memory that others use again; else its signs count no longer.
  /// What was done, with its name.
  std::string fence(int process);

 private:
  using HandlePtr = std::shared_ptr<const runtime::ProcessHandle>;
  HandlePtr handle(int process) const;
  std::string name(int process) const;

  const Events events_;
  const bool kills_;
  mutable std::mutex mutex_;
  std::map<int, HandlePtr> handles_;  // of those on this machine
  std::map<int, std::string> names_;
  runtime::Heartbeats heartbeats_;
  runtime::ExitWatch exits_;
};

}  // namespace troupe::deploy
