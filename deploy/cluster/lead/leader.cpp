#include "deploy/cluster/lead/leader.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>

#include "config/schedule/dealing.h"
#include "deploy/cluster/node_plane.h"
#include "deploy/train/collectives.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::Members;

}  // namespace

wire::Event Leader::event_of(wire::Event::Kind kind, std::string text) {
  wire::Event event;
  event.set_kind(kind);
  event.set_text(std::move(text));
  return event;
}

Leader::Bell::Bell() : file_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (file_ < 0) throw ClusterError("eventfd: " + std::string(std::strerror(errno)));
}
Leader::Bell::~Bell() { ::close(file_); }
void Leader::Bell::ring() const { static_cast<void>(::eventfd_write(file_, 1)); }
void Leader::Bell::stop_ringing() const {
  eventfd_t rung = 0;
  static_cast<void>(::eventfd_read(file_, &rung));
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
      has_its_blocks_(std::move(args.has_its_blocks)),
      is_moving_(args.moves != nullptr),
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
      plane_(make_node_plane(gathering_->endpoint().host,
                             {.received = [this](int peer, runtime::Parcel parcel) {
                                if (is_moving_) return mover_->received(peer, std::move(parcel));
                                company_->office.received(std::move(parcel));
                              },
                              .lost = [this](int peer, const std::string& why,
                                             const std::vector<std::string>&) { unplugged(peer, why); }})),
      config_(std::make_unique<actors::SystemConfig>(gathering_->token(), gathering_->tls())),
      system_(std::make_unique<caf::actor_system>((config_->look_long(*company_), *config_))),
      desk_(std::make_unique<actors::FrontDesk>(*system_, company_, gathering_->endpoint().host)),
      slow_nodes_(config::unit_work(setup_.plan_args(), company_->plan),
                  config::shares_of(company_->plan.micro_batches)) {
  company_->office.set_plane(plane_.get());
  take_collectives(*company_, setup_.run.run);
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
  try {
    members.wait_until_ready(runtime::within(ready_time));
    wait_for_crews();
    if (mover_) move_blocks();
  } catch (const ClusterError& error) {
    throw ClusterError(why_not_ready(error.what()));
  }
  replacing_ = std::thread([this] { replace_loop(); });
  std::lock_guard lock(mutex_);
  is_ready_ = true;
}

void Leader::wait_for_crews() {
  const auto deadline = runtime::within(ready_time);
  while (!desk_->wait_for_crews(look_time)) {
    std::lock_guard lock(mutex_);
    if (gone_.empty() && std::chrono::steady_clock::now() < deadline) continue;
    throw ClusterError("not every node has reached the control plane at " + gathering_->endpoint().host + ":" +
                       std::to_string(desk_->port()));
  }
}

/// A node that was cut off is gone for a reason.
std::string Leader::why_not_ready(const std::string& what) const {
  std::lock_guard lock(mutex_);
  std::string all;
  for (const auto& [process, why] : gone_) all += (all.empty() ? "" : "; ") + why;
  return all.empty() ? what : all;
}

Leader::~Leader() {
  {
    std::lock_guard lock(mutex_);
    troupe_ = nullptr;
    is_over_ = true;
  }
  wake();
  if (replacing_.joinable()) replacing_.join();
  Members& members = gathering_->members();
  if (has_parted_) {
    members.wait_until_gone(runtime::within(goes_on_ ? rest_time : end_time));
  } else {
    members.finish("", runtime::within(end_time));
  }
  company_->office.set_plane(nullptr);
  plane_.reset();
  watch_.reset();
}

wire::NodeStart Leader::start_message() const {
  Members& members = gathering_->members();
  wire::NodeStart start;
  start.set_processes(members.count() + 1);
  *start.mutable_run() = setup_.run.run;
  *start.mutable_model() = setup_.model.model;
  start.set_cores(setup_.cores);
  start.set_buddy_stride(company_->plan.buddy_stride);
  start.add_data_addresses(plane_->address());
  {
    std::lock_guard lock(mutex_);  // who is gone is reached where another takes its place
    for (int p = 1; p <= members.count(); ++p) {
      start.add_data_addresses(gone_.contains(p) ? "" : members.facts(p).data_address());
    }
  }
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

/// With the lock.
void Leader::lose_state(const std::string& why) {
  has_lost_state_ = company_->plan.redundancy > 0;
  if (has_lost_state_) company_->happened(event_of(wire::Event::STATE_LOST, why));
  give_up(why);
}

/// With a process that is gone, or has nothing yet, all copies of a block may be.
bool Leader::is_beyond_help() const {
  std::set<int> empty = company_->newcomers.get();
  for (const auto& [process, why] : gone_) empty.insert(process);
  return company_->placement.have_lost_all_copies(empty);
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
    if (is_newcomers(process, life, how) || !is_news(process, life)) return;
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
    if (is_newcomers(process, life, noticed) || !is_news(process, life)) return;
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
    if (!is_ready_) gathering_->members().cut(process);  // somebody waits for what it says
    if (is_beyond_help()) {
      for (const auto& [p, text] : gone_) all += (all.empty() ? "" : "; ") + text;
      return lose_state(all);
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
  bell_.ring();
}

}  // namespace troupe::deploy
