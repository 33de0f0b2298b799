#include "deploy/cluster/leader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>

#include "config/plan/dealing.h"
#include "deploy/cluster/node_plane.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::Members;

/// So often one behind the other nobody may get into a lost one's place.
constexpr int most_replacements = 5;
/// For nodes to make their arenas and actors.
constexpr auto ready_time = 300s;
/// For nodes to reach one that has come anew.
constexpr auto connect_time = 30s;
/// For a newcomer to get its state, and a second more for so many bytes of all state.
constexpr auto restore_time = 10s;
constexpr int64_t slowest_restore = 20'000'000;
}  // namespace

wire::Event Leader::event_of(wire::Event::Kind kind, std::string text) {
  wire::Event event;
  event.set_kind(kind);
  event.set_text(std::move(text));
  return event;
}

Leader::Leader(Args args)
    : setup_(args.setup), run_folder_(args.run_folder), hands_out_state_(args.hands_out_state),
      takes_over_(args.takes_over), term_(args.term),
      company_(args.company), gathering_(std::move(args.gathering)),
      mover_(args.moves ? std::make_unique<actors::Mover>(actors::Mover::Args{
                              .arena = company_->arena,
                              .state = gathering_->regroup()->state(),
                              .process = 0,
                              .moves = *args.moves})
                        : nullptr),
      is_moving_(args.moves != nullptr),
      plane_(make_node_plane(gathering_->endpoint().host,
                             {.received = [this](int peer, runtime::Parcel parcel) {
                                if (is_moving_) return mover_->received(peer, std::move(parcel));
                                company_->office.received(std::move(parcel));
                              },
                              .lost = [this](int peer, const std::string& why,
                                             const std::vector<std::string>&) { unplugged(peer, why); }})),
      config_(std::make_unique<actors::SystemConfig>(gathering_->token(), gathering_->tls())),
      system_(std::make_unique<caf::actor_system>(*config_)),
      desk_(std::make_unique<actors::FrontDesk>(*system_, company_, gathering_->endpoint().host)),
      watch_(std::make_unique<NodeWatch>(NodeWatch::Args{
          .seal = {gathering_->secret(), gathering_->token()},
          .host = gathering_->endpoint().host,
          .kills = term_ == 0,
          .events = {.ended = [this](int process, uint32_t life,
                                     const std::string& how) { lost(process, life, how); },
                     .silent = [this](int process, uint32_t life,
                                      const std::string& how) { suspected(process, life, how); },
                     .unheard = [this](int process,
                                       const std::string& what) { unheard(process, what); }}})),
      slow_nodes_(config::unit_work(setup_.plan_args(), company_->plan),
                  config::shares_of(company_->plan.micro_batches)) {
  company_->office.set_plane(plane_.get());
  deal_by_pace();
  if (takes_over_) {
    company_->has_state = false;
    company_->newcomers.add(0);
    for (const int process : gathering_->newcomers()) company_->newcomers.add(process);
  }
  Members& members = gathering_->members();
  lives_.assign(static_cast<size_t>(members.count()) + 1, 1);
  for (int p = 1; p <= members.count(); ++p) plane_->connect(p, members.facts(p).data_address());
  for (int p = 1; p <= members.count(); ++p) watch_->take(p, 1, members.facts(p));
  start_nodes();
  start_guests();
  members.wait_until_ready(runtime::within(ready_time));
  if (!desk_->wait_for_crews(ready_time)) {
    throw ClusterError("not every node has reached the control plane at " +
                       gathering_->endpoint().host + ":" + std::to_string(desk_->port()));
  }
  if (mover_) move_blocks();
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) throw ClusterError("eventfd: " + std::string(std::strerror(errno)));
  replacing_ = std::thread([this] { replace_loop(); });
}

Leader::~Leader() {
  {
    std::lock_guard lock(mutex_);
    troupe_ = nullptr;
    is_over_ = true;
  }
  if (wake_ >= 0) wake();
  if (replacing_.joinable()) replacing_.join();
  Members& members = gathering_->members();
  if (has_parted_) {
    members.wait_until_gone(runtime::within(goes_on_ ? rest_time : end_time));
  } else {
    members.finish("", runtime::within(end_time));
  }
  watch_.reset();
  company_->office.set_plane(nullptr);
  plane_.reset();
  if (wake_ >= 0) ::close(wake_);
}

wire::NodeStart Leader::start_message() const {
  Members& members = gathering_->members();
  wire::NodeStart start;
  start.set_processes(members.count() + 1);
  *start.mutable_run() = setup_.run.run;
  *start.mutable_model() = setup_.model.model;
  start.set_cores(setup_.cores);
  start.add_data_addresses(plane_->address());
  for (int p = 1; p <= members.count(); ++p) start.add_data_addresses(members.facts(p).data_address());
  start.set_control_port(desk_->port());
  start.set_control_token(gathering_->token());
  start.set_run_folder(run_folder_);
  start.set_heartbeat_port(watch_->port());
  start.set_term(term_);
  start.mutable_lives()->Add(lives_.begin(), lives_.end());
  for (const runtime::Member& guest : gathering_->guests()) {
    if (!is_moving_) break;  // it has gone
    start.add_data_addresses(guest.facts.data_address());
    start.add_lives(1);
  }
  for (const std::string& failpoint : company_->failpoints.unfired()) start.add_failpoints(failpoint);
  return start;
}

void Leader::start_nodes() {
  wire::NodeStart start = start_message();
  start.set_is_handed_state(hands_out_state_ || takes_over_ || mover_);
  if (mover_) *start.mutable_regroup() = *gathering_->regroup();
  for (int p = 1; p <= gathering_->members().count(); ++p) {
    start.set_process(p);
    start.set_goes_on(takes_over_ && !gathering_->newcomers().contains(p));
    gathering_->members().start(p, gathering_->secret(), start);
  }
}

void Leader::give_up(const std::string& why) {
  if (first_loss_) return;
  first_loss_ = why;
  if (troupe_) troupe_->give_up(why + advice_);
}

/// With a process that is gone, or has nothing yet, all copies of a block may be.
bool Leader::is_beyond_help() const {
  if (company_->plan.redundancy == 0) return true;
  std::set<int> empty = company_->newcomers.get();
  for (const auto& [process, why] : gone_) empty.insert(process);
  return actors::have_lost_all_copies(empty, company_->placement.processes());
}

/// False: it was said before, it is of one who had that number before (life 0: of whoever has it now), or
/// the run is over.
bool Leader::is_news(int process, uint32_t life) const {
  return !is_over_ && !gone_.contains(process) &&
         (life == 0 || life == lives_[static_cast<size_t>(process)]);
}

void Leader::suspected(int process, uint32_t life, const std::string& how) {
  {
    std::lock_guard lock(mutex_);
    if (!is_news(process, life)) return;
  }
  const uint64_t noticed_us = runtime::unix_us();
  company_->happened(event_of(wire::Event::PROCESS_SUSPECTED, how));
  count_out(process, life, how, noticed_us);
}

void Leader::unheard(int process, const std::string& what) {
  {
    std::lock_guard lock(mutex_);
    if (!is_news(process, 0)) return;
  }
  std::cerr << "note: " << what << std::endl;
  company_->happened(event_of(wire::Event::ALARM, what));
}

void Leader::lost(int process, uint32_t life, const std::string& noticed) {
  {
    std::lock_guard lock(mutex_);
    if (!is_news(process, life)) return;
  }
  const uint64_t noticed_us = runtime::unix_us();
  const std::string ending = watch_->how_it_ended(process);
  const bool is_said = ending.empty() || noticed.find(ending) != std::string::npos;
  count_out(process, life, noticed + (is_said ? "" : "; it " + ending), noticed_us);
}

void Leader::count_out(int process, uint32_t life, const std::string& why, uint64_t noticed_us) {
  std::string all;
  {
    std::lock_guard lock(mutex_);
    if (!is_news(process, life)) return;
    gone_[process] = why;
    company_->office.lose(process);
    if (is_moving_) gathering_->members().cut(process);
    if (is_beyond_help()) {
      for (const auto& [p, text] : gone_) all += (all.empty() ? "" : "; ") + text;
      has_lost_state_ = company_->plan.redundancy > 0;
      if (has_lost_state_) company_->happened(event_of(wire::Event::STATE_LOST, all));
      return give_up(all);
    }
  }
  wire::Event event = event_of(wire::Event::PROCESS_LOST, why);
  event.set_unix_us(noticed_us);
  company_->happened(event);
  wake();
}

void Leader::stop() {
  is_stopping_ = true;
  wake();
}

std::string Leader::stopped_without() const {
  std::lock_guard lock(mutex_);
  return stopped_without_;
}

void Leader::wake() {
  changed_.notify_all();
  static_cast<void>(::eventfd_write(wake_, 1));
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
  Members& members = gathering_->members();
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
  {
    std::lock_guard lock(mutex_);
    ++lives_[static_cast<size_t>(process)];
    connected_.clear();
  }
  watch_->take(process, lives_[static_cast<size_t>(process)], node->facts);
  wire::NodeStart start = start_message();
  start.set_process(process);
  start.set_is_handed_state(true);
  start.set_data_addresses(process, node->facts.data_address());
  node->socket.set_peer(Members::describe(process, node->facts));
  runtime::start_node(*node, gathering_->secret(), start);
  const auto events = runtime::wait_for_ready(*node, runtime::within(ready_time));
  tell_of(process, node->facts);
  if (!desk_->wait_for_crews(connect_time)) {
    throw ClusterError(node->socket.peer() + " has not reached the control plane");
  }
  const std::string who = node->socket.peer();
  members.replace(process, std::move(*node));
  for (const wire::Event& event : events) company_->happened(event);
  std::string why;
  {
    std::lock_guard lock(mutex_);
    if (is_over_ || first_loss_) return;
    company_->newcomers.add(process);
    why = gone_[process];
    gone_.erase(process);
  }
  company_->happened(event_of(wire::Event::PROCESS_JOINED, who + " in the place of " + why));
  if (const auto coordinator = company_->directory.find({actors::Role::coordinator})) {
    runtime::tell(coordinator, actors::restarted_atom_v, static_cast<uint8_t>(actors::Role::crew), why);
  }
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
    changed_.wait_for(lock, 20ms);
    if (is_over_ || first_loss_ || !gone_.empty()) return;
  }
}

/// Everybody is to reach it before anybody sends.
void Leader::tell_of(int process, const wire::NodeFacts& facts) {
  wire::JoinFrame frame;
  frame.mutable_peer()->set_process(process);
  frame.mutable_peer()->set_data_address(facts.data_address());
  {
    std::lock_guard lock(mutex_);
    frame.mutable_peer()->set_life(lives_[static_cast<size_t>(process)]);
  }
  gathering_->members().tell(frame);
  plane_->connect(process, facts.data_address());
  company_->office.find_again(process);
  std::unique_lock lock(mutex_);
  const bool all_have = changed_.wait_for(lock, connect_time, [&] {
    if (is_over_) return true;
    for (int p = 1; p <= gathering_->members().count(); ++p) {
      if (!gone_.contains(p) && !connected_.contains(p)) return false;
    }
    return true;
  });
  if (!all_have) throw ClusterError("not every process reaches process " + std::to_string(process));
}

}  // namespace troupe::deploy
