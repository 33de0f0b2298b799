// Node processes that a training run starts itself, on its own machine.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "runtime/cluster/join/endpoint.h"
#include "runtime/cluster/join/secret.h"

namespace troupe::deploy {

class NodeProcesses {
 public:
  NodeProcesses() = default;
  /// Those that have not ended by themselves are killed; all are reaped.
  ~NodeProcesses();
  NodeProcesses(const NodeProcesses&) = delete;
  NodeProcesses& operator=(const NodeProcesses&) = delete;

  /// Starts `troupe node --join AT` as often as that. They are not in the terminal's group: Ctrl-C is
  /// for the run, which ends them. Throws ClusterError.
  void start(int count, const runtime::Endpoint& at, const runtime::Secret& secret);
  /// Throws ClusterError if one has ended.
  void check();
  /// They go on without this process: whoever is its parent reaps them.
  void let_go() { living_.clear(); }
  /// Whether the last one that was started has ended: it is forgotten then.
  bool has_last_ended();
  /// Forgets those that have ended.
  void reap();

 private:
  std::vector<pid_t> living_;
};

}  // namespace troupe::deploy
