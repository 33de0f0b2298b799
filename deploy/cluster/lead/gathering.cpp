#include "deploy/cluster/lead/gathering.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <numeric>
#include <thread>
#include <utility>

#include "actors/placement/placement.h"
#include "config/plan/buddies.h"
#include "deploy/cluster/lead/node_claims.h"
#include "deploy/cluster/secret_option.h"
#include "deploy/cluster/tls_option.h"
#include "deploy/process/machine.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/process_handle.h"
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

Gathering::Gathering(MeetingPoint& at, NodeProcessesPtr processes)
    : at_(at), own_(own_facts(at.tls.is_set())), processes_(std::move(processes)) {}

namespace {

/// Tells one who has come to come again.
void put_off(runtime::Member& member, const std::string& why) {
  try {
    runtime::put_off(member.socket, why);
  } catch (const ClusterError&) {
    // it has gone
  }
}

void put_off_all(std::vector<runtime::Member>& members, const std::string& why) {
  for (runtime::Member& member : members) put_off(member, why);
}

}  // namespace

std::optional<runtime::Member> Gathering::admit_one() {
  if (at_.check) at_.check();
  try {
    auto member = at_.arrivals.next(own_, within(look_time));
    if (!member) return std::nullopt;
    const wire::NodeFacts& facts = member->facts;
    const bool is_holder = facts.held_process() > 0;
    const bool is_of_use = takes_holders_ && facts.held_run() == at_.token && (!last_ || is_at(facts, *last_));
    if (is_holder && !is_of_use) {
      runtime::refuse(member->socket, "the run goes on without what this node holds");
    }
    return member;
  } catch (const ClusterError& error) {
    std::cerr << "note: " << error.what() << std::endl;
    return std::nullopt;
  }
}

std::optional<runtime::Member> Gathering::one_more(const std::function<bool()>& is_in_vain) {
  processes_->reap();
  if (at_.starts_nodes) {
    processes_->start(1, endpoint(), at_.secret);
  } else {
    std::cout << "waiting for a node in its place: troupe node --join "
              << runtime::to_string(endpoint()) << std::endl;
  }
  const auto deadline = within(start_time);
  while (!is_in_vain()) {
    if (auto member = admit_one()) return member;
    if (at_.starts_nodes && processes_->has_last_ended()) {
      throw ClusterError("a node process that was started has ended before it had joined");
    }
    if (at_.starts_nodes && std::chrono::steady_clock::now() > deadline) {
      throw ClusterError("a node process that was started has not joined within 60 s");
    }
  }
  return std::nullopt;
}

/// Those that had a part of the run when its leader was lost connect at once, those that had not got their state
/// yet among them. False: they were about to get other parts.
bool Gathering::take_holders(Slots& slots, std::vector<runtime::Member>& spare) {
  const auto deadline = within(rejoin_time);
  size_t missing = slots.size();
  bool are_of_this_plan = true;
  while (missing > 0 && std::chrono::steady_clock::now() < deadline) {
    auto member = admit_one();
    if (!member) continue;
    const wire::NodeFacts& facts = member->facts;
    const int process = facts.held_process();
    if (process == 0) {
      if (facts.held_run() == at_.token) --missing;
      spare.push_back(std::move(*member));
      continue;
    }
    const bool is_first = std::none_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.has_value(); });
    const bool is_of_this_plan = !facts.is_at_rest() && process <= static_cast<int>(slots.size()) &&
                                 facts.held_processes() == static_cast<int>(slots.size()) + 1 &&
                                 (is_first || facts.held_buddy_stride() == buddy_stride_);
    if (is_of_this_plan) buddy_stride_ = facts.held_buddy_stride();
    if (!is_of_this_plan) {
      are_of_this_plan = false;
      spare.push_back(std::move(*member));
    } else if (!slots[static_cast<size_t>(process - 1)]) {
      slots[static_cast<size_t>(process - 1)].emplace(std::move(*member));
    } else {
      continue;
    }
    --missing;
  }
  return are_of_this_plan;
}

/// Those of one machine have neighbouring numbers, which work together most; those of this one come first.
void Gathering::order_by_machine(Slots& slots) const {
  std::map<std::string, size_t> first{{own_.boot(), 0}};
  for (size_t i = 0; i < slots.size(); ++i) first.emplace(slots[i]->facts.boot(), i + 1);
  std::vector<size_t> order(slots.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return first.at(slots[a]->facts.boot()) < first.at(slots[b]->facts.boot());
  });
  Slots ordered(slots.size());
  for (size_t i = 0; i < order.size(); ++i) ordered[i].emplace(std::move(*slots[order[i]]));
  slots.swap(ordered);
}

/// Copies are to be on another machine than what they are copies of.
void Gathering::choose_buddies(const Slots& slots) {
  std::vector<std::string> machines{own_.boot()};
  for (const auto& slot : slots) machines.push_back(slot->facts.boot());
  buddy_stride_ = config::buddy_stride(machines);
  const int beside = config::buddies_on_one_machine(machines, buddy_stride_);
  const bool are_all_there = std::set<std::string>(machines.begin(), machines.end()).size() == 1;
  if (beside == 0 || are_all_there) return;
  std::cout << "note: copies of what " << beside << " of " << machines.size()
            << " processes hold are on their own machine, which has more than half of them" << std::endl;
}

/// The empty ones get who is there, then who comes; nodes are started for them unless they come.
void Gathering::fill(Slots& slots, std::vector<runtime::Member> spare) {
  const auto missing = static_cast<int>(
      std::count_if(slots.begin(), slots.end(), [](const auto& slot) { return !slot; }));
  const int wanted = std::max(missing - static_cast<int>(spare.size()), 0);
  if (at_.starts_nodes && wanted > 0) processes_->start(wanted, endpoint(), at_.secret);
  if (!at_.starts_nodes && wanted > 0) {
    std::cout << "waiting for " << wanted << (wanted == 1 ? " node: " : " nodes: ")
              << "troupe node --join " << runtime::to_string(endpoint()) << std::endl;
  }
  const auto deadline = within(start_time);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i]) continue;
    while (spare.empty()) {
      if (at_.starts_nodes) processes_->check();
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
  put_off_all(spare, "the run takes this node in");
  if (newcomers_.size() == slots.size()) order_by_machine(slots);
  if (newcomers_.size() == slots.size() || regroup_) choose_buddies(slots);
  std::vector<runtime::Member> members;
  for (auto& slot : slots) members.push_back(std::move(*slot));
  members_ = std::make_unique<runtime::Members>(std::move(members));
}

std::chrono::milliseconds Gathering::usual_step() const {
  std::vector<wire::NodeFacts> facts;
  for (int p = 1; p <= members_->count(); ++p) facts.push_back(members_->facts(p));
  return usual_step_of(facts, at_.token);
}

std::unique_ptr<Gathering> gather_nodes(MeetingPoint& at, const NodeProcessesPtr& processes, int nodes,
                                        std::vector<runtime::Member> spare) {
  auto gathering = std::make_unique<Gathering>(at, processes);
  Gathering::Slots slots(static_cast<size_t>(nodes));
  gathering->fill(slots, std::move(spare));
  return gathering;
}

Again gather_again(MeetingPoint& at, const NodeProcessesPtr& processes, int nodes, const wire::StepRecord& last) {
  Again again;
  auto gathering = std::make_unique<Gathering>(at, processes);
  gathering->takes_holders_ = true;
  gathering->last_ = last;
  Gathering::Slots slots(static_cast<size_t>(nodes));
  again.regroups = !gathering->take_holders(slots, again.spare);
  if (again.regroups) {
    for (auto& slot : slots) {
      if (slot) again.spare.push_back(std::move(*slot));
    }
    put_off_all(again.spare, "the run is about to have other processes");
    again.spare.clear();
    return again;
  }
  gathering->takes_holders_ = false;  // who comes later has been given up
  std::set<int> empty{0};
  for (int p = 1; p <= nodes; ++p) {
    if (!slots[static_cast<size_t>(p - 1)]) empty.insert(p);
  }
  if (actors::have_lost_all_copies(empty, nodes + 1, gathering->buddy_stride())) return again;
  gathering->fill(slots, std::exchange(again.spare, {}));
  again.nodes = std::move(gathering);
  return again;
}

std::unique_ptr<Gathering> gather_others(MeetingPoint& at, const NodeProcessesPtr& processes,
                                         const Regrouping& to) {
  auto gathering = std::make_unique<Gathering>(at, processes);
  gathering->takes_holders_ = true;
  processes->reap();
  const auto nodes = static_cast<size_t>(to.processes - 1);
  std::vector<runtime::Member> stayers, fresh;
  std::vector<wire::HeldPart> held{to.own};
  const auto all_are_there = [&] {
    return stayers.size() >= static_cast<size_t>(to.stayers) && stayers.size() + fresh.size() >= nodes &&
           gathering->guests_.size() >= to.leaving.size() && to.have_all(held);
  };
  auto deadline = within(rejoin_time);
  while (!all_are_there() && std::chrono::steady_clock::now() < deadline) {
    auto member = gathering->admit_one();
    if (!member) continue;
    if (member->facts.held_process() > 0 && !member->facts.is_at_rest()) {
      put_off(*member, "the run is about to have other processes");
      deadline = within(rejoin_time);  // it comes to rest first
      continue;
    }
    const wire::HeldPart part = held_by(member->facts, to.state);
    held.push_back(part);
    const bool leaves = is_among(part, to.before, to.leaving);
    (part.processes() == 0 ? fresh : leaves ? gathering->guests_ : stayers).push_back(std::move(*member));
  }
  gathering->takes_holders_ = false;
  gathering->regroup(to, std::move(stayers), std::move(fresh));
  return gathering;
}

/// Those that are too many give what they hold, too.
void Gathering::regroup(const Regrouping& to, std::vector<runtime::Member> stayers,
                        std::vector<runtime::Member> fresh) {
  Slots slots(static_cast<size_t>(to.processes - 1));
  while (stayers.size() > slots.size()) {
    guests_.push_back(std::move(stayers.back()));
    stayers.pop_back();
  }
  std::vector<size_t> order(stayers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return stayers[a].facts.held_process() < stayers[b].facts.held_process();
  });
  std::vector<wire::HeldPart> parts{to.own};
  for (const size_t i : order) parts.push_back(held_by(stayers[i].facts, to.state));
  const std::vector<int> chosen = to.choose(parts);
  wire::Regroup all;
  all.set_state(to.state);
  for (int p = 0; p < to.processes; ++p) all.add_held();
  *all.mutable_held(0) = to.own;
  for (size_t i = 0; i < order.size(); ++i) {
    const int process = chosen[i + 1];
    *all.mutable_held(process) = parts[i + 1];
    slots[static_cast<size_t>(process - 1)].emplace(std::move(stayers[order[i]]));
  }
  for (const runtime::Member& guest : guests_) *all.add_held() = held_by(guest.facts, to.state);
  regroup_ = std::move(all);
  fill(slots, std::move(fresh));
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
