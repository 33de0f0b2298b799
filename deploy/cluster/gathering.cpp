#include "deploy/cluster/gathering.h"

#include <unistd.h>

#include <iostream>
#include <thread>

#include "deploy/cluster/secret_option.h"
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
}

std::unique_ptr<Gathering> gather_nodes(const ClusterOptions& options, int nodes) {
  if (const std::string why = runtime::why_no_ucx(); !why.empty()) {
    throw ClusterError("a run of several processes needs a data plane between them, and this build "
                       "has none: " + why);
  }
  const bool starts_nodes = options.listen.empty();
  const runtime::Endpoint at = starts_nodes ? runtime::Endpoint{"127.0.0.1", 0}
                                            : runtime::parse_endpoint(options.listen);
  check_network(at.host, options.is_insecure, "--listen " + options.listen);
  const runtime::Secret secret = secret_of(options, starts_nodes);
  runtime::Listener listener(at);
  std::unique_ptr<Gathering> gathering(new Gathering{secret, listener.endpoint(), {}, nullptr});
  const wire::NodeFacts own = own_facts("", "");
  if (starts_nodes) {
    gathering->processes.start(nodes, gathering->listen, secret);
  } else {
    std::cout << "waiting for " << nodes << (nodes == 1 ? " node: " : " nodes: ")
              << "troupe node --join " << runtime::to_string(gathering->listen) << std::endl;
  }
  const auto deadline = within(start_time);
  std::vector<runtime::Member> members;
  while (static_cast<int>(members.size()) < nodes) {
    if (starts_nodes) gathering->processes.check();
    if (starts_nodes && std::chrono::steady_clock::now() > deadline) {
      throw ClusterError("of " + std::to_string(nodes) + " node processes " +
                         std::to_string(members.size()) + " have joined within 60 s");
    }
    auto socket = listener.accept(within(look_time));
    if (!socket) continue;
    try {
      members.push_back(runtime::admit(std::move(*socket), secret, own, within(hello_time)));
    } catch (const ClusterError& error) {
      std::cerr << "note: " << error.what() << std::endl;
      continue;
    }
    if (!starts_nodes) {
      const wire::NodeFacts& facts = members.back().facts;
      std::cout << "node " << members.size() << " of " << nodes << ": " << facts.host() << ", pid "
                << facts.pid() << ", " << facts.cores() << " cores, " << facts.data_plane()
                << std::endl;
    }
  }
  gathering->members = std::make_unique<runtime::Members>(std::move(members));
  return gathering;
}

wire::NodeFacts own_facts(std::string data_plane, std::string data_address) {
  wire::NodeFacts facts;
  facts.set_build(runtime::build_id());
  facts.set_arithmetic(std::string(runtime::cpu_arithmetic));
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) facts.set_host(host);
  facts.set_pid(static_cast<uint64_t>(::getpid()));
  facts.set_data_plane(std::move(data_plane));
  facts.set_data_address(std::move(data_address));
  facts.set_cores(std::thread::hardware_concurrency());
  facts.set_memory_bytes(static_cast<uint64_t>(memory_bytes()));
  return facts;
}

void check_network(const std::string& host, bool is_insecure, const std::string& what) {
  if (is_insecure || runtime::is_loopback(host)) return;
  throw ClusterError(what + ": other machines reach this address, and token messages travel plain; "
                            "wanted a tunnel's address of this machine, or --insecure");
}

}  // namespace troupe::deploy
