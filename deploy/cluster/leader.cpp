#include "deploy/cluster/leader.h"

#include "deploy/cluster/node_plane.h"
#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;

/// For nodes to make their arenas and actors.
constexpr auto ready_time = 300s;
/// For nodes to end when the run has.
constexpr auto end_time = 10s;

}  // namespace

Leader::Leader(Args args)
    : company_(args.company), gathering_(std::move(args.gathering)),
      plane_(make_node_plane(gathering_->listen.host,
                             {.received = [company = company_](int, runtime::Parcel parcel) {
                                company->office.received(std::move(parcel));
                              },
                              .lost = [this](int peer, const std::string& why,
                                             const std::vector<std::string>&) {
                                lost(gathering_->members->describe(peer) + ": " + why);
                              }})),
      token_(runtime::hexadecimal(runtime::random_nonce())),
      config_(std::make_unique<actors::SystemConfig>(token_)),
      system_(std::make_unique<caf::actor_system>(*config_)),
      desk_(std::make_unique<actors::FrontDesk>(*system_, company_, gathering_->listen.host)) {
  company_->office.set_plane(plane_.get());
  runtime::Members& members = *gathering_->members;
  for (int p = 1; p <= members.count(); ++p) plane_->connect(p, members.facts(p).data_address());
  start_nodes(args);
  members.wait_until_ready(runtime::within(ready_time));
  if (!desk_->wait_for_crews(ready_time)) {
    throw runtime::ClusterError("not every node has reached the control plane at " +
                                gathering_->listen.host + ":" + std::to_string(desk_->port()));
  }
}

Leader::~Leader() {
  {
    std::lock_guard lock(mutex_);
    troupe_ = nullptr;
  }
  gathering_->members->finish("", runtime::within(end_time));
  company_->office.set_plane(nullptr);
  plane_.reset();
}

void Leader::start_nodes(const Args& args) {
  runtime::Members& members = *gathering_->members;
  wire::NodeStart start;
  start.set_processes(members.count() + 1);
  *start.mutable_run() = args.setup.run.run;
  *start.mutable_model() = args.setup.model.model;
  start.set_cores(args.setup.cores);
  start.add_data_addresses(plane_->address());
  for (int p = 1; p <= members.count(); ++p) start.add_data_addresses(members.facts(p).data_address());
  start.set_control_port(desk_->port());
  start.set_control_token(token_);
  start.set_is_handed_state(args.hands_out_state);
  for (const std::string& failpoint : args.failpoints) start.add_failpoints(failpoint);
  start.set_run_folder(args.run_folder);
  for (int p = 1; p <= members.count(); ++p) {
    start.set_process(p);
    members.start(p, gathering_->secret, start);
  }
}

void Leader::lost(const std::string& why) {
  std::lock_guard lock(mutex_);
  if (first_loss_) return;
  first_loss_ = why;
  if (troupe_) troupe_->give_up(why + advice_);
}

Leader::Watch::Watch(Leader& leader, actors::Troupe& troupe, std::string advice)
    : leader_(leader) {
  {
    std::lock_guard lock(leader.mutex_);
    leader.troupe_ = &troupe;
    leader.advice_ = std::move(advice);
    if (leader.first_loss_) troupe.give_up(*leader.first_loss_ + leader.advice_);
  }
  leader.gathering_->members->watch(
      {.happened =
           [company = leader.company_](int, const wire::Event& event) {
             if (event.kind() == wire::Event::FAILPOINT) company->failpoints.fired(event.text());
             company->happened(event);
           },
       .lost = [&leader](int, const std::string& why) { leader.lost(why); }});
}

Leader::Watch::~Watch() {
  {
    std::lock_guard lock(leader_.mutex_);
    leader_.troupe_ = nullptr;
    leader_.first_loss_ = "";  // the run is over
  }
  leader_.gathering_->members->finish("", runtime::within(end_time));
}

}  // namespace troupe::deploy
