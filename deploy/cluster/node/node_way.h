// How a node comes to the process that leads its run: the place that it was given, or whoever a lease
// names.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "deploy/cluster/node/leader_search.h"
#include "deploy/cluster/node/node_line.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/join/join.h"
#include "runtime/cluster/join/secret.h"
#include "runtime/cluster/join/tls.h"

namespace troupe::deploy {

struct NodeOptions {
  std::string join;  ///< HOST:PORT, or http://HOST:PORT/NAME
  std::string secret;
  runtime::TlsFiles tls;
  int wait = 60;
  bool is_insecure = false;
};

/// To the first leader, or one in a lost one's place.
struct Way {
  runtime::Endpoint leader;
  runtime::Secret secret;
  wire::NodeFacts facts;
  std::string name;
  std::chrono::seconds wait;             ///< for somebody to lead
  bool is_insecure;
  std::unique_ptr<LeaderSearch> search;  ///< null: the run has no lease, as far as is known
  bool is_search_the_runs = false;       ///< or that of --join, which names one of etcd's servers
  bool is_between_parts = false;         ///< of the run, which is about to have other processes
  std::shared_ptr<std::atomic<bool>> is_stopped = std::make_shared<std::atomic<bool>>(false);  ///< by a signal
};

/// The part that this node has goes on without it.
class NoPart : public runtime::ClusterError {
 public:
  using ClusterError::ClusterError;
};

/// Throws ClusterError.
Way way_of(const NodeOptions& options);

/// A connection to who leads now, if there is a lease that says so; else to the place that this node knows,
/// within `time`. Throws ClusterError, RunHasEnded.
std::shared_ptr<runtime::FrameSocket> reach(Way& way, std::chrono::milliseconds time);

/// Throws ClusterError if a signal has come: it may have found another line to end than the one that is waited on.
void expect_to_go_on(const Way& way);

/// The line goes to whoever `reach` finds. Throws as both.
void go_to(Way& way, Line& line, std::chrono::milliseconds time);

/// The part that this node gets. Where a lease says who leads, whoever that is may be lost before it is
/// given. Throws as runtime::join does.
wire::NodeStart join_whoever_leads(Way& way, Line& line, std::chrono::milliseconds hello_time);

/// From now on the run's lease says who leads it, if it has one.
void search_by(Way& way, const wire::NodeStart& start,
               const std::shared_ptr<runtime::FrameSocket>& socket);

}  // namespace troupe::deploy
