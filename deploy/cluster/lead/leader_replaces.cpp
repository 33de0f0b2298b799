// How a leader lets others take the places of processes that are lost.
#include <sys/socket.h>

#include "deploy/cluster/lead/leader.h"
#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::Members;

/// So often one behind the other nobody may get into a lost one's place.
constexpr int most_replacements = 5;
/// For nodes to reach one that has come anew, and for its crew to be there.
constexpr auto connect_time = 30s;
/// For a newcomer to get its state, and a second more for so many bytes of all state.
constexpr auto restore_time = 10s;
constexpr int64_t slowest_restore = 20'000'000;

}  // namespace

/// While it lives, a newcomer's loss ends whatever is waited for of it.
class Leader::Admission {
 public:
  Admission(Leader& leader, int process, const runtime::Member& node) : leader_(leader) {
    std::lock_guard lock(leader_.mutex_);
    leader_.newcomer_ = Newcomer{.process = process,
                                 .life = ++leader_.lives_[static_cast<size_t>(process)],
                                 .file = node.socket.file()};
    leader_.connected_.clear();
  }
  ~Admission() {
    std::lock_guard lock(leader_.mutex_);
    leader_.newcomer_.reset();
  }
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  uint32_t life() const { return leader_.newcomer_->life; }  // of this thread alone
  void is_reached() const {
    std::lock_guard lock(leader_.mutex_);
    leader_.newcomer_->is_reached = true;
  }
  void check() const {
    std::lock_guard lock(leader_.mutex_);
    const auto& newcomer = leader_.newcomer_;
    if (newcomer && !newcomer->loss.empty()) throw ClusterError(newcomer->loss);
  }

 private:
  Leader& leader_;
};

/// With the lock. True: it was of the one that is about to take a lost one's place.
bool Leader::is_newcomers(int process, uint32_t life, const std::string& how) {
  if (!newcomer_ || newcomer_->process != process || !newcomer_->loss.empty()) return false;
  if (life != newcomer_->life && !(life == 0 && newcomer_->is_reached)) return false;
  newcomer_->loss = how;
  ::shutdown(newcomer_->file, SHUT_RDWR);
  changed_.notify_all();
  return true;
}

/// Whoever is gone can do no more harm: on this machine it is killed if it still lives, elsewhere its
/// connection closes, so it ends.
void Leader::fence(int process) {
  company_->happened(event_of(wire::Event::PROCESS_FENCED, watch_->fence(process)));
  gathering_->reap();
  gathering_->members().drop(process);
}

void Leader::replace_loop() {
  while (true) {
    int process = 0;
    {
      std::lock_guard lock(mutex_);
      if (is_over_) return;
      if (!gone_.empty() && troupe_ && !first_loss_) process = gone_.begin()->first;
    }
    if (process == 0) {
      look_for_changes();
      wait_for_news();
      continue;
    }
    try {
      replace(process);
      failed_replacements_ = 0;
      wait_until_restored(process);
    } catch (const std::exception& error) {  // whoever was to take the place may be lost too
      company_->happened(event_of(wire::Event::ALARM, "nobody has taken the place of process " +
                                                          std::to_string(process) + " yet: " +
                                                          error.what()));
      if (++failed_replacements_ < most_replacements) continue;
      std::lock_guard lock(mutex_);
      give_up(gone_[process] + "; nobody could take its place: " + error.what());
    }
  }
}

void Leader::replace(int process) {
  fence(process);
  plane_->disconnect(process);
  desk_->forget(process);
  auto node = gathering_->one_more(
      [this] { return is_over_ || (is_stopping_ && gathering_->waits_for_nodes()); });
  if (!node) {
    std::lock_guard lock(mutex_);
    if (is_over_) return;
    stopped_without_ = gone_[process];
    return give_up(stopped_without_);
  }
  const std::string who = Members::describe(process, node->facts);
  std::string why;
  {
    Admission admission(*this, process, *node);
    try {
      why = admit(process, *node, admission);
    } catch (const ClusterError&) {
      admission.check();  // which says more
      throw;
    }
  }
  if (why.empty()) return;
  company_->happened(event_of(wire::Event::PROCESS_JOINED, who + " in the place of " + why));
  if (const auto coordinator = company_->directory.find({actors::Role::coordinator})) {
    runtime::tell(coordinator, actors::restarted_atom_v, static_cast<uint8_t>(actors::Role::crew), why);
  }
}

/// Why the one before it is gone. Empty: the run is over.
std::string Leader::admit(int process, runtime::Member& node, Admission& admission) {
  const wire::NodeFacts facts = node.facts;
  watch_->take(process, admission.life(), facts);
  wire::NodeStart start = start_message();
  start.set_process(process);
  start.set_is_handed_state(true);
  start.set_data_addresses(process, facts.data_address());
  node.socket.set_peer(Members::describe(process, facts));
  runtime::start_node(node, gathering_->secret(), start);
  const auto events = runtime::wait_for_ready(node, runtime::within(ready_time));
  tell_of(process, facts, admission);
  const auto deadline = runtime::within(connect_time);
  while (!desk_->wait_for_crew(process, look_time)) {
    admission.check();
    if (std::chrono::steady_clock::now() > deadline) {
      throw ClusterError(node.socket.peer() + " has not reached the control plane");
    }
  }
  gathering_->members().replace(process, std::move(node));
  for (const wire::Event& event : events) company_->happened(event);
  std::lock_guard lock(mutex_);
  if (is_over_ || first_loss_) return {};
  if (!newcomer_->loss.empty()) throw ClusterError(newcomer_->loss);
  company_->newcomers.add(process);
  desk_->let_in(process);
  const std::string why = gone_[process];
  gone_.erase(process);
  newcomer_.reset();  // one like the others, whose loss is news
  if (!is_beyond_help()) return why;  // memory may have changed what another holds
  lose_state(why);
  return {};
}

/// Every request ends: a newcomer that does not get its state in time, whatever keeps it, is fenced and
/// another takes its place.
void Leader::wait_until_restored(int process) {
  const auto deadline = std::chrono::steady_clock::now() + restore_time +
                        std::chrono::seconds(company_->arena.bytes() / slowest_restore);
  while (company_->newcomers.get().contains(process)) {
    if (std::chrono::steady_clock::now() > deadline) {
      company_->newcomers.remove({process});
      return lost(process, 0, gathering_->members().describe(process) + " did not get its state in time");
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, look_time);
    if (is_over_ || first_loss_ || !gone_.empty()) return;
  }
}

/// Everybody is to reach it before anybody sends.
void Leader::tell_of(int process, const wire::NodeFacts& facts, const Admission& admission) {
  wire::JoinFrame frame;
  frame.mutable_peer()->set_process(process);
  frame.mutable_peer()->set_data_address(facts.data_address());
  frame.mutable_peer()->set_life(admission.life());
  gathering_->members().tell(frame);
  plane_->connect(process, facts.data_address());
  admission.is_reached();
  company_->office.find_again(process);
  bool all_have = false;
  {
    std::unique_lock lock(mutex_);
    all_have = changed_.wait_for(lock, connect_time, [&] {
      if (is_over_ || !newcomer_->loss.empty()) return true;
      for (int p = 1; p <= gathering_->members().count(); ++p) {
        if (!gone_.contains(p) && !connected_.contains(p)) return false;
      }
      return true;
    });
  }
  admission.check();
  if (!all_have) throw ClusterError("not every process reaches process " + std::to_string(process));
}

/// A node reaches the newcomer; of one that was to be it before, that says nothing.
void Leader::connected(int process, const wire::Peer& peer) {
  {
    std::lock_guard lock(mutex_);
    if (!newcomer_ || newcomer_->process != peer.process() || newcomer_->life != peer.life()) return;
    connected_.insert(process);
  }
  changed_.notify_all();
}

}  // namespace troupe::deploy
