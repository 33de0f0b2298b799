// The processes of a run find each other: the one that leads it listens, the others join.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "deploy/cluster/node_processes.h"
#include "runtime/cluster/members.h"
#include "runtime/cluster/tls.h"

namespace troupe::deploy {

struct ClusterOptions {
  int nodes = 0;         ///< 0: as the run says
  std::string listen;    ///< HOST:PORT where nodes of others are waited for; empty: they are started here
  std::string secret;    ///< file
  runtime::TlsFiles tls = {};
  bool is_insecure = false;
};

/// --nodes, --listen, --secret, --insecure, and those of TLS.
void add_cluster_options(CLI::App& command, ClusterOptions& options);

/// Nodes that have joined and wait for their parts.
class Gathering {
 public:
  /// Listens, and starts `nodes` node processes unless --listen is given. Throws ClusterError.
  Gathering(const ClusterOptions& options, int nodes);

  const runtime::Secret& secret() const { return secret_; }
  const runtime::Endpoint& endpoint() const { return listener_.endpoint(); }
  const runtime::TlsFiles& tls() const { return tls_; }
  runtime::Members& members() { return *members_; }

  /// Waits for one node more: another that it starts itself (within a minute), or one that joins.
  /// None: `is_over` has become true. Throws ClusterError.
  std::optional<runtime::Member> one_more(const std::atomic<bool>& is_over);

 private:
  friend std::unique_ptr<Gathering> gather_nodes(const ClusterOptions& options, int nodes);
  /// Takes whoever comes within a moment; who is refused is printed.
  std::optional<runtime::Member> admit_one();

  const bool starts_nodes_;
  runtime::Listener listener_;
  const runtime::Secret secret_;
  const runtime::TlsFiles tls_;
  const wire::NodeFacts own_;
  NodeProcesses processes_;  // those that were started here; they go behind the sockets
  std::unique_ptr<runtime::Members> members_;
};

/// Waits for `nodes` nodes, which it starts itself unless `listen` is given. Throws ClusterError: the
/// port is in use, nobody has a secret, certificates are of no use, a node it started has ended; who is refused is printed, and
/// waited for further.
std::unique_ptr<Gathering> gather_nodes(const ClusterOptions& options, int nodes);

/// What a process says of itself, but for its data plane.
wire::NodeFacts own_facts(bool has_tls);

/// Token messages travel plain: throws ClusterError, naming `what`, unless only processes of this
/// machine reach the host or --insecure is given.
void check_network(const std::string& host, bool is_insecure, const std::string& what);

}  // namespace troupe::deploy
