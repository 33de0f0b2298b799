#include "deploy/cluster/gathering.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <numeric>
#include <thread>

#include "actors/placement.h"
#include "deploy/cluster/secret_option.h"
#include "deploy/cluster/tls_option.h"
#include "deploy/machine.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/process_handle.h"
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
/// How long the nodes of a lost leader may take to come again.
constexpr auto rejoin_time = 2s;
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
  CLI::Option* standby = command.add_flag(
      "--standby", options.is_standby,
      "wait, and lead the run when the host that leads is lost (cluster.lease)")->needs(listen)->group(group);
  command.add_option("--priority", options.priority, "of standbys the one with the lowest goes first")
      ->check(CLI::Range(1, 1000))->needs(standby)->group(group);
  add_tls_options(command, options.tls, group)->needs(listen);
}

MeetingPoint::MeetingPoint(const ClusterOptions& options, const std::string& nonce)
    : starts_nodes(options.listen.empty()), listener(endpoint_of(options)),
      secret(secret_of(options, starts_nodes)), arrivals(listener, secret, hello_time), tls(options.tls),
      token(runtime::hexadecimal(nonce.empty() ? runtime::random_nonce()
                                               : secret.prove("troupe run", nonce, "token"))) {
  if (const std::string why = runtime::why_no_ucx(); !why.empty()) {
    throw ClusterError("a run of several processes needs a data plane between them, and this build "
                       "has none: " + why);
  }
  if (tls.is_set()) runtime::check_tls(tls);
}

Gathering::Gathering(MeetingPoint& at) : at_(at), own_(own_facts(at.tls.is_set())) {}

std::optional<runtime::Member> Gathering::admit_one() {
  if (at_.check) at_.check();
  try {
    auto member = at_.arrivals.next(own_, within(look_time));
    if (!member) return std::nullopt;
    const bool is_holder = member->facts.held_process() > 0;
    if (is_holder && (!takes_holders_ || member->facts.held_run() != at_.token)) {
      runtime::refuse(member->socket, "the run goes on without what this node holds");
    }
    return member;
  } catch (const ClusterError& error) {
    std::cerr << "note: " << error.what() << std::endl;
    return std::nullopt;
  }
}

std::optional<runtime::Member> Gathering::one_more(const std::atomic<bool>& is_over) {
  processes_.reap();
  if (at_.starts_nodes) {
    processes_.start(1, endpoint(), at_.secret);
  } else {
    std::cout << "waiting for a node in its place: troupe node --join "
              << runtime::to_string(endpoint()) << std::endl;
  }
  const auto deadline = within(start_time);
  while (!is_over) {
    if (auto member = admit_one()) return member;
    if (at_.starts_nodes && processes_.has_last_ended()) {
      throw ClusterError("a node process that was started has ended before it had joined");
    }
    if (at_.starts_nodes && std::chrono::steady_clock::now() > deadline) {
      throw ClusterError("a node process that was started has not joined within 60 s");
    }
  }
  return std::nullopt;
}

/// Those that held a part of the run when its leader was lost connect at once.
void Gathering::take_holders(Slots& slots, std::vector<runtime::Member>& spare) {
  const auto deadline = within(rejoin_time);
  size_t missing = slots.size();
  while (missing > 0 && std::chrono::steady_clock::now() < deadline) {
    auto member = admit_one();
    if (!member) continue;
    const int process = member->facts.held_process();
    if (process == 0) {
      spare.push_back(std::move(*member));
    } else if (process <= static_cast<int>(slots.size()) && !slots[static_cast<size_t>(process - 1)]) {
      slots[static_cast<size_t>(process - 1)].emplace(std::move(*member));
      --missing;
    }
  }
}

/// The empty ones get who is there, then who comes; nodes are started for them unless they come.
void Gathering::fill(Slots& slots, std::vector<runtime::Member> spare) {
  const auto missing = static_cast<int>(
      std::count_if(slots.begin(), slots.end(), [](const auto& slot) { return !slot; }));
  const int wanted = std::max(missing - static_cast<int>(spare.size()), 0);
  if (at_.starts_nodes && wanted > 0) processes_.start(wanted, endpoint(), at_.secret);
  if (!at_.starts_nodes && wanted > 0) {
    std::cout << "waiting for " << wanted << (wanted == 1 ? " node: " : " nodes: ")
              << "troupe node --join " << runtime::to_string(endpoint()) << std::endl;
  }
  const auto deadline = within(start_time);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i]) continue;
    while (spare.empty()) {
      if (at_.starts_nodes) processes_.check();
      if (at_.starts_nodes && std::chrono::steady_clock::now() > deadline) {
        throw ClusterError("node processes that were started here have not joined within 60 s: " +
                           std::to_string(i) + " of " + std::to_string(slots.size()) + " have");
      }
      auto member = admit_one();
      if (!member) continue;
      if (!at_.starts_nodes) {
        const wire::NodeFacts& facts = member->facts;
        std::cout << "node " << i + 1 << " of " << slots.size() << ": " << facts.host() << ", pid "
                  << facts.pid() << ", " << facts.cores() << " cores, " << facts.data_plane()
                  << std::endl;
      }
      spare.push_back(std::move(*member));
    }
    slots[i].emplace(std::move(spare.back()));
    spare.pop_back();
    newcomers_.insert(static_cast<int>(i) + 1);
  }
  std::vector<runtime::Member> members;
  for (auto& slot : slots) members.push_back(std::move(*slot));
  members_ = std::make_unique<runtime::Members>(std::move(members));
}

std::unique_ptr<Gathering> gather_nodes(MeetingPoint& at, int nodes) {
  auto gathering = std::make_unique<Gathering>(at);
  Gathering::Slots slots(static_cast<size_t>(nodes));
  gathering->fill(slots, {});
  return gathering;
}

std::unique_ptr<Gathering> gather_again(MeetingPoint& at, int nodes) {
  auto gathering = std::make_unique<Gathering>(at);
  gathering->takes_holders_ = true;
  Gathering::Slots slots(static_cast<size_t>(nodes));
  std::vector<runtime::Member> spare;
  gathering->take_holders(slots, spare);
  gathering->takes_holders_ = false;  // who comes later has been given up
  std::set<int> empty{0};
  for (int p = 1; p <= nodes; ++p) {
    if (!slots[static_cast<size_t>(p - 1)]) empty.insert(p);
  }
  if (actors::have_lost_all_copies(empty, nodes + 1)) return nullptr;
  gathering->fill(slots, std::move(spare));
  return gathering;
}

std::unique_ptr<Gathering> gather_others(MeetingPoint& at, int nodes) {
  auto gathering = std::make_unique<Gathering>(at);
  gathering->takes_holders_ = true;
  std::vector<runtime::Member> all;
  const auto deadline = within(rejoin_time);
  while (static_cast<int>(all.size()) < nodes && std::chrono::steady_clock::now() < deadline) {
    if (auto member = gathering->admit_one()) all.push_back(std::move(*member));
  }
  const auto before = [](const runtime::Member& one) {  // those that are new stand behind
    const int process = one.facts.held_process();
    return process > 0 ? process : std::numeric_limits<int>::max();
  };
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return before(all[a]) < before(all[b]); });
  Gathering::Slots slots(static_cast<size_t>(nodes));
  for (size_t i = 0; i < order.size(); ++i) slots[i].emplace(std::move(all[order[i]]));
  gathering->fill(slots, {});
  return gathering;
}

wire::NodeFacts own_facts(bool has_tls) {
  wire::NodeFacts facts;
  facts.set_build(runtime::build_id());
  // Which of them is the run's stands in its settings.
  facts.set_arithmetic(std::string(name_of(kernels::Arithmetic::cpu)) + " " +
                       std::string(name_of(kernels::Arithmetic::sm_90a)));
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) facts.set_host(host);
  runtime::set_own_process(facts);
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
