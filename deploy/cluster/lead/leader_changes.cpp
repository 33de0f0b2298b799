// What a leader hears while its run is under way: of nodes that come, of those that are to leave, and what all
// are told when it goes on with others, or elsewhere.
#include <poll.h>

#include <chrono>
#include <iostream>

#include "config/plan/planner.h"
#include "deploy/cluster/lead/leader.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/journal/orders.h"

namespace troupe::deploy {
namespace {

using runtime::ClusterError;

/// How often orders are looked for.
constexpr std::chrono::milliseconds order_time{200};

}  // namespace

/// Until a process is lost, the run is over, somebody comes, or it is time to look for orders.
void Leader::wait_for_news() {
  const bool is_changing = change().has_value();
  pollfd files[] = {{bell_.file(), POLLIN, 0}, {is_changing ? -1 : gathering_->file(), POLLIN, 0}};
  ::poll(files, 2, static_cast<int>(order_time.count()));
  if (files[0].revents != 0) bell_.stop_ringing();
}

/// What speaks against so many processes. Empty: nothing.
std::string Leader::objection_to(int processes) const {
  if (processes < 2) return "found 1 process, wanted at least 2 in a run that nodes leave";
  config::LoadedRun run = setup_.run;
  run.run.mutable_cluster()->set_nodes(processes);
  try {
    config::make_plan({.run = run, .model = setup_.model, .cores = setup_.cores});
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

/// Nodes that come, and orders to let nodes go: the run pauses after the step under way, to go on with other
/// processes.
void Leader::look_for_changes() {
  {
    std::lock_guard lock(mutex_);
    if (!troupe_ || first_loss_ || change_) return;
  }
  if (let_slow_ones_go()) return;
  if (follow_orders()) return;
  const int processes = gathering_->members().count() + 1;
  if (!gathering_->has_arrivals()) return;
  auto node = gathering_->admit_one();
  if (!node) return;
  try {
    const std::string who = node->facts.host() + ", pid " + std::to_string(node->facts.pid());
    if (!gathering_->waits_for_nodes()) {
      runtime::refuse(node->socket, "the run has started all the processes that it is to have");
    }
    if (const std::string why = objection_to(processes + 1); !why.empty()) {
      runtime::refuse(node->socket, why);
    }
    runtime::put_off(node->socket, "the run takes this node in");
    begin_change({processes + 1, {}, "a node joins (" + who + ")"});
  } catch (const ClusterError& error) {
    company_->happened(event_of(wire::Event::ALARM, error.what()));
  }
}

/// All that are there make one change, behind which the numbers that they name may be others'. True: there is one.
bool Leader::follow_orders() {
  const int processes = gathering_->members().count() + 1;
  std::set<int> leaving;
  std::string who;
  for (const runtime::DrainOrder& order : runtime::open_orders(run_folder_)) {
    std::set<int> with_these = leaving;
    bool is_there = false;
    for (int p = 1; p < processes; ++p) {
      const bool is_meant = order.node == std::to_string(p) ||
                            order.node == gathering_->members().facts(p).host();
      if (is_meant) with_these.insert(p);
      is_there = is_there || is_meant;
    }
    const std::string why = is_there ? objection_to(processes - static_cast<int>(with_these.size()))
                                     : "this run has no such node";
    runtime::close_order(order);
    if (why.empty()) {
      leaving = std::move(with_these);
      who += (who.empty() ? "node " : ", node ") + order.node;
    } else {
      company_->happened(
          event_of(wire::Event::ALARM, "node " + order.node + " cannot leave: " + why));
    }
  }
  if (leaving.empty()) return false;
  const int rest = processes - static_cast<int>(leaving.size());
  const char* const verb = who.find(',') == std::string::npos ? " leaves" : " leave";
  begin_change({rest, std::move(leaving), who + verb});
  return true;
}

void Leader::begin_change(Change change) {
  std::lock_guard lock(mutex_);
  if (!troupe_) return;
  change_ = std::move(change);
  std::cout << "note: the plan is to change: " + change_->why + "\n" << std::flush;  // in one piece, beside the console
  troupe_->request_pause();
}

std::optional<Leader::Change> Leader::change() {
  std::lock_guard lock(mutex_);
  return change_;
}

Leader::Watch::Watch(Leader& leader, actors::Troupe& troupe, std::string advice)
    : leader_(leader) {
  {
    std::lock_guard lock(leader.mutex_);
    leader.troupe_ = &troupe;
    leader.advice_ = std::move(advice);
    if (leader.first_loss_) troupe.give_up(*leader.first_loss_ + leader.advice_);
  }
  leader.wake();
  leader.gathering_->members().watch(
      {.happened =
           [company = leader.company_](int, const wire::Event& event) {
             if (event.kind() == wire::Event::FAILPOINT) company->failpoints.fired(event.text());
             company->happened(event);
           },
       .lost = [&leader](int process, const std::string& why) { leader.lost(process, 0, why); },
       .connected = [&leader](int process, const wire::Peer& peer) { leader.connected(process, peer); },
       .unreachable =
           [&leader](int process, const wire::Peer& peer) {
             const int other = peer.process();
             {
               std::lock_guard lock(leader.mutex_);
               // Of one that has been replaced, or of this process, which hears for itself.
               if (other < 1 || other >= static_cast<int>(leader.lives_.size()) ||
                   leader.lives_[static_cast<size_t>(other)] != peer.life()) {
                 return;
               }
             }
             leader.lost(other, peer.life(),
                         "process " + std::to_string(process) + " does not reach " +
                             leader.gathering_->members().describe(other) + ": " + peer.text());
           }});
}

Leader::Watch::~Watch() {
  {
    std::lock_guard lock(leader_.mutex_);
    leader_.troupe_ = nullptr;
    leader_.is_over_ = true;
  }
  leader_.wake();
  if (leader_.replacing_.joinable()) leader_.replacing_.join();
  for (const auto& [process, why] : leader_.gone_) leader_.fence(process);
  runtime::Members& members = leader_.gathering_->members();
  if (leader_.is_abandoned_) {
    leader_.gathering_->let_go();
    members.abandon();
  } else if (leader_.has_lost_state_ && leader_.term_ > 0) {
    leader_.has_parted_ = true;
    members.part("the run goes on from its newest checkpoint");
  } else if (leader_.goes_on_) {
    leader_.has_parted_ = true;
    members.part(leader_.change_->why);
  } else {
    members.finish("", runtime::within(end_time));
  }
}

}  // namespace troupe::deploy
