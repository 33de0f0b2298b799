// The processes of a run find each other: the one that leads it listens, the others join.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "deploy/cluster/lead/node_processes.h"
#include "runtime/cluster/join/arrivals.h"
#include "runtime/cluster/join/members.h"
#include "runtime/cluster/join/tls.h"

namespace troupe::deploy {

struct ClusterOptions {
  int nodes = 0;         ///< 0: as the run says
  std::string listen;    ///< HOST:PORT where nodes of others are waited for; empty: they are started here
  std::string secret;    ///< file
  runtime::TlsFiles tls = {};
  bool is_insecure = false;
  bool is_standby = false;  ///< it leads when another that leads is lost
  int priority = 1;         ///< of standbys: the lowest goes first
};

/// --nodes, --listen, --secret, --insecure, those of TLS and of standbys.
void add_cluster_options(CLI::App& command, ClusterOptions& options);

/// Where the processes of a run find each other, whoever leads it: it stays while leaders come and go.
struct MeetingPoint {
  /// Listens. `nonce`: of a run that is led from several hosts, whose token is the same on all of them;
  /// empty: there is one. Throws ClusterError: the port is in use, nobody has a secret, certificates are of
  /// no use, this build has no data plane.
  MeetingPoint(const ClusterOptions& options, const std::string& nonce);

  const bool starts_nodes;  ///< or they come by themselves
  runtime::Listener listener;
  const runtime::Secret secret;
  runtime::Arrivals arrivals;
  const runtime::TlsFiles tls;
  const std::string token;  ///< of this run: its actor systems know each other by it
  std::function<void()> check = {};  ///< called now and then by whoever waits for nodes; may throw
};

/// Those that a leader has started, whichever plan they are of.
using NodeProcessesPtr = std::shared_ptr<NodeProcesses>;

/// What is known of those who come when a run goes on with other processes.
struct Regrouping {
  int processes;              ///< that it goes on with
  int stayers;                ///< nodes that are expected again; behind a lost leader nobody knows how many
  std::set<int> leaving;      ///< likewise, and then they go: numbers of what they held
  int before;                 ///< of so many processes
  uint64_t state;             ///< that they are to hold
  wire::HeldPart own;         ///< of process 0
  /// Whether these, process 0 first, hold every block of the state.
  std::function<bool(const std::vector<wire::HeldPart>&)> have_all;
  /// Of those that come, process 0 first: their processes.
  std::function<std::vector<int>(const std::vector<wire::HeldPart>&)> choose;
};

struct Again;

/// Nodes that have joined and wait for their parts.
class Gathering {
 public:
  Gathering(MeetingPoint& at, NodeProcessesPtr processes);

  const runtime::Secret& secret() const { return at_.secret; }
  const runtime::Endpoint& endpoint() const { return at_.listener.endpoint(); }
  const runtime::TlsFiles& tls() const { return at_.tls; }
  const std::string& token() const { return at_.token; }
  runtime::Members& members() { return *members_; }
  /// From each process to the one that has copies of its blocks: on another machine where that can be, or, where
  /// nodes hold their parts already, as they have it.
  int buddy_stride() const { return buddy_stride_; }
  /// Processes whose nodes hold nothing of the run yet.
  const std::set<int>& newcomers() const { return newcomers_; }
  /// What a step takes as those say who have seen one of this run. 0: nobody has.
  std::chrono::milliseconds usual_step() const;
  /// Of a run that goes on with other processes: who held what, else nothing.
  const std::optional<wire::Regroup>& regroup() const { return regroup_; }
  /// They give what they hold, and leave: behind the run's processes, in this order.
  std::vector<runtime::Member>& guests() { return guests_; }

  /// Takes whoever comes within a moment; who is refused is printed.
  std::optional<runtime::Member> admit_one();
  /// Nodes that were started here go on under another leader.
  void let_go() { processes_->let_go(); }
  /// Readable: somebody comes.
  int file() const { return at_.listener.file(); }
  /// Whether `admit_one` has something to do at once.
  bool has_arrivals() const { return at_.arrivals.has_news(); }

  /// Lets go of the numbers of those that it started and that have ended.
  void reap() { processes_->reap(); }
  /// Waits for one node more: another that it starts itself (within a minute), or one that joins.
  /// None: `is_in_vain` has become true. Throws ClusterError.
  std::optional<runtime::Member> one_more(const std::function<bool()>& is_in_vain);
  /// Nodes come by themselves, or not: nobody is started here.
  bool waits_for_nodes() const { return !at_.starts_nodes; }

 private:
  friend std::unique_ptr<Gathering> gather_nodes(MeetingPoint&, const NodeProcessesPtr&, int,
                                                 std::vector<runtime::Member>);
  friend Again gather_again(MeetingPoint&, const NodeProcessesPtr&, int, const wire::StepRecord&);
  friend std::unique_ptr<Gathering> gather_others(MeetingPoint&, const NodeProcessesPtr&, const Regrouping&);
  using Slots = std::vector<std::optional<runtime::Member>>;  // by process, from 1
  bool take_holders(Slots& slots, std::vector<runtime::Member>& spare);
  void order_by_machine(Slots& slots) const;
  void choose_buddies(const Slots& slots);
  void regroup(const Regrouping& to, std::vector<runtime::Member> stayers, std::vector<runtime::Member> fresh);
  void fill(Slots& slots, std::vector<runtime::Member> spare);
  MeetingPoint& at_;
  const wire::NodeFacts own_;
  bool takes_holders_ = false;  // who holds a part of the run, or only who holds nothing
  std::optional<wire::StepRecord> last_;  // that holders with actors have applied, or can
  std::set<int> newcomers_;
  int buddy_stride_ = 1;
  NodeProcessesPtr processes_;  // those that were started here; they go behind the sockets
  std::optional<wire::Regroup> regroup_;
  std::vector<runtime::Member> guests_;
  std::unique_ptr<runtime::Members> members_;
};

/// Waits for `nodes` nodes, `spare` among them, which it starts itself unless they come. Who is refused is
/// printed, and waited for further. Throws ClusterError: a node it started has ended.
std::unique_ptr<Gathering> gather_nodes(MeetingPoint& at, const NodeProcessesPtr& processes, int nodes,
                                        std::vector<runtime::Member> spare);

/// Of the nodes of a lost leader.
struct Again {
  std::unique_ptr<Gathering> nodes;    ///< with what they hold; null: that is not enough, or not of this plan
  bool regroups = false;               ///< the lost one was about to go on with others: all are told to come again
  std::vector<runtime::Member> spare;  ///< they have come, and hold nothing
};
/// For a leader in a lost one's place: the nodes come again with what they hold of the run, and new
/// ones take the places of those that do not come. Without `nodes`: of some block nobody has a copy, or the run
/// regroups. `last`: the last commit, which some may have to apply. Throws as above.
Again gather_again(MeetingPoint& at, const NodeProcessesPtr& processes, int nodes, const wire::StepRecord& last);

/// For a run that goes on with other processes than before: those that were in it come again with what they
/// hold, and new ones get what is left. Throws as above.
std::unique_ptr<Gathering> gather_others(MeetingPoint& at, const NodeProcessesPtr& processes,
                                         const Regrouping& to);

/// What a process says of itself, but for its data plane.
wire::NodeFacts own_facts(bool has_tls);

/// Token messages travel plain: throws ClusterError, naming `what`, unless only processes of this
/// machine reach the host or --insecure is given.
void check_network(const std::string& host, bool is_insecure, const std::string& what);

}  // namespace troupe::deploy
