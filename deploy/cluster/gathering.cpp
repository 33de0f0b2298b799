#include "deploy/cluster/gathering.h"

#include <unistd.h>

#include <iostream>
#include <thread>

#include "deploy/cluster/secret_option.h"
#include "deploy/cluster/tls_option.h"
#include "deploy/machine.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/data_plane/data_plane.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::within;

/// A node says who it is at once.
constexpr auto hello_time = 5s;
/// How long one that was started here may take to join.
constexpr auto start_time = 60s;
/// How often those that were started here are looked after.
constexpr auto look_time = 200ms;

runtime::Secret secret_of(const ClusterOptions& options, bool starts_nodes) {
  if (const auto secret = cluster_secret(options.secret)) return *secret;
  if (starts_nodes) return runtime::Secret::random();
  throw ClusterError(
      "--listen: found no cluster secret, wanted one in TROUPE_SECRET or a file (--secret), the same "
      "as the nodes have: head -c 32 /dev/urandom | base64 makes one");
}

runtime::Endpoint endpoint_of(const ClusterOptions& options) {
  if (options.listen.empty()) return {"127.0.0.1", 0};
  const runtime::Endpoint at = runtime::parse_endpoint(options.listen);
  check_network(at.host, options.is_insecure, "--listen " + options.listen);
  return at;
}

}  // namespace

void add_cluster_options(CLI::App& command, ClusterOptions& options) {
  const auto group = "Processes";
  command.add_option("--nodes", options.nodes,
                     "processes that the run is spread over; changes no bit. Default: cluster.nodes")
      ->check(CLI::Range(1, 4096))->group(group);
  CLI::Option* listen = command.add_option("--listen", options.listen,
                     "HOST:PORT where the other processes join (troupe node --join); without it they "
                     "are started here")->group(group);
  add_secret_option(command, options.secret)->needs(listen)->group(group);
  command.add_flag("--insecure", options.is_insecure,
                   "token messages may travel plain between hosts")->needs(listen)->group(group);
  add_tls_options(command, options.tls, group)->needs(listen);
}

Gathering::Gathering(const ClusterOptions& options, int nodes)
    : starts_nodes_(options.listen.empty()), listener_(endpoint_of(options)),
      secret_(secret_of(options, starts_nodes_)), tls_(options.tls),
      own_(own_facts(options.tls.is_set())) {
  if (starts_nodes_) {
    processes_.start(nodes, endpoint(), secret_);
  } else {
    std::cout << "waiting for " << nodes << (nodes == 1 ? " node: " : " nodes: ")
              << "troupe node --join " << runtime::to_string(endpoint()) << std::endl;
  }
}

std::optional<runtime::Member> Gathering::admit_one() {
  auto socket = listener_.accept(within(look_time));
  if (!socket) return std::nullopt;
  try {
    return runtime::admit(std::move(*socket), secret_, own_, within(hello_time));
  } catch (const ClusterError& error) {
    std::cerr << "note: " << error.what() << std::endl;
    return std::nullopt;
  }
}

std::optional<runtime::Member> Gathering::one_more(const std::atomic<bool>& is_over) {
  processes_.reap();
  if (starts_nodes_) {
    processes_.start(1, endpoint(), secret_);
  } else {
    std::cout << "waiting for a node in its place: troupe node --join "
              << runtime::to_string(endpoint()) << std::endl;
  }
  const auto deadline = within(start_time);
  while (!is_over) {
    if (auto member = admit_one()) return member;
    if (starts_nodes_ && std::chrono::steady_clock::now() > deadline) {
      throw ClusterError("a node process that was started has not joined within 60 s");
    }
  }
  return std::nullopt;
}

std::unique_ptr<Gathering> gather_nodes(const ClusterOptions& options, int nodes) {
  if (const std::string why = runtime::why_no_ucx(); !why.empty()) {
    throw ClusterError("a run of several processes needs a data plane between them, and this build "
                       "has none: " + why);
  }
  if (options.tls.is_set()) runtime::check_tls(options.tls);
  auto gathering = std::make_unique<Gathering>(options, nodes);
  const auto deadline = within(start_time);
  std::vector<runtime::Member> members;
  while (static_cast<int>(members.size()) < nodes) {
    if (gathering->starts_nodes_) gathering->processes_.check();
    if (gathering->starts_nodes_ && std::chrono::steady_clock::now() > deadline) {
      throw ClusterError("of " + std::to_string(nodes) + " node processes " +
                         std::to_string(members.size()) + " have joined within 60 s");
    }
    auto member = gathering->admit_one();
    if (!member) continue;
    members.push_back(std::move(*member));
    if (!gathering->starts_nodes_) {
      const wire::NodeFacts& facts = members.back().facts;
      std::cout << "node " << members.size() << " of " << nodes << ": " << facts.host() << ", pid "
                << facts.pid() << ", " << facts.cores() << " cores, " << facts.data_plane()
                << std::endl;
    }
  }
  gathering->members_ = std::make_unique<runtime::Members>(std::move(members));
  return gathering;
}

wire::NodeFacts own_facts(bool has_tls) {
  wire::NodeFacts facts;
  facts.set_build(runtime::build_id());
  facts.set_arithmetic(std::string(runtime::cpu_arithmetic));
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) facts.set_host(host);
  facts.set_pid(static_cast<uint64_t>(::getpid()));
  facts.set_cores(std::thread::hardware_concurrency());
  facts.set_memory_bytes(static_cast<uint64_t>(memory_bytes()));
  facts.set_has_tls(has_tls);
  return facts;
}

void check_network(const std::string& host, bool is_insecure, const std::string& what) {
  if (is_insecure || runtime::is_loopback(host)) return;
  throw ClusterError(what + ": other machines reach this address, and token messages travel plain; "
                            "wanted a tunnel's address of this machine, or --insecure");
}

}  // namespace troupe::deploy
