// What follows when a process of a run computes more slowly than the others (cluster.on_slow).
#include <iostream>

#include "config/plan/cost_model.h"
#include "deploy/cluster/lead/leader.h"

namespace troupe::deploy {

/// Before any actor.
void Leader::deal_by_pace() {
  const bool has_choice = company_->plan.data > 1;
  if (setup_.run.run.cluster().on_slow() == config::Cluster::REPORT || !has_choice) return;
  dealer_ = std::make_shared<PacedDealer>(company_->plan,
                                          config::unit_work(setup_.plan_args(), company_->plan));
  company_->shares = [dealer = dealer_](int64_t micro_batches) {
    return dealer->shares(static_cast<int>(micro_batches));
  };
}

void Leader::step_done(const wire::StepDone& done) {
  std::vector<uint32_t> lives;
  {
    std::lock_guard lock(mutex_);
    lives = lives_;
  }
  for (const auto& change : slow_nodes_.hear(done, lives)) {
    const std::string who = change.process == 0 ? "process 0 (which leads)"
                                                : gathering_->members().describe(change.process);
    say_of_step(done, wire::Event::SLOW_WORKER, describe(change, who));
  }
  if (dealer_) rebalance(done);
  const config::Cluster& cluster = setup_.run.run.cluster();
  if (cluster.on_slow() != config::Cluster::DRAIN) return;
  const auto slow = slow_nodes_.slow_for(static_cast<size_t>(cluster.slow_steps()));
  std::lock_guard lock(mutex_);
  stay_slow_ = {slow.begin(), slow.end()};
}

void Leader::say_of_step(const wire::StepDone& done, wire::Event::Kind kind, std::string text) {
  wire::Event event = event_of(kind, std::move(text));
  event.set_step(done.record().step());
  company_->happened(event);
}

/// Who takes which micro-batch shows in no bit (law 2), and is fixed when an epoch begins (law 3): so it
/// holds from the next one on.
void Leader::rebalance(const wire::StepDone& done) {
  int all = 0;
  for (const int share : done.shares()) all += share;
  if (all == 0) return;
  const std::vector<int> before = dealer_->shares(all);
  dealer_->pace(slow_nodes_.paces());
  const std::string changes = describe_shares(before, dealer_->shares(all));
  if (!changes.empty()) say_of_step(done, wire::Event::REBALANCED, "rebalanced: " + changes);
}

/// As an order to drain it, given once for each time that it is slow.
bool Leader::let_slow_ones_go() {
  std::set<int> slow;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(asked_to_leave_, [&](int process) { return !stay_slow_.contains(process); });
    for (const int process : stay_slow_) {
      if (asked_to_leave_.insert(process).second) slow.insert(process);
    }
  }
  for (const int process : slow) {
    const int rest = gathering_->members().count();
    const std::string why = process == 0 ? "it leads" : objection_to(rest);
    const std::string who = process == 0 ? "process 0" : gathering_->members().describe(process);
    if (why.empty()) {
      company_->happened(event_of(wire::Event::SLOW_WORKER, who + " leaves: it stays slow"));
      begin_change({rest, {process}, who + " leaves: it stays slow"});
      return true;
    }
    const std::string what = who + " stays slow and cannot leave: " + why;
    std::cerr << "note: " << what << std::endl;
    company_->happened(event_of(wire::Event::ALARM, what));
  }
  return false;
}

}  // namespace troupe::deploy
