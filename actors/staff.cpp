#include "actors/staff.h"

#include "actors/model/attention_shard.h"
#include "actors/model/expert_shard.h"
#include "actors/model/router.h"
#include "actors/model/stage.h"
#include "actors/train/crew.h"
#include "actors/train/optimizer_shard.h"
#include "actors/train/trainer.h"

namespace troupe::actors {
namespace {

using runtime::ChildSpec;
using runtime::LogKind;

const char* supervisor_of(Role role) {
  switch (role) {
    case Role::journal:
    case Role::checkpointer: return "keepers";
    case Role::crew:
    case Role::trainer:
    case Role::evaluator:
    case Role::coordinator: return "control";
    default: return "model";
  }
}

}  // namespace

Staff::Staff(Args args) : args_(std::move(args)) {
  const Company& company = *args_.company;
  std::vector<Address> cast;
  if (company.is_first()) cast.push_back({Role::journal});
  if (args_.has_checkpoints) cast.push_back({Role::checkpointer});
  for (const Address& address : cast_of(company.plan, company.recipe.shape)) {
    if (company.placement.process_of(address) == company.process) cast.push_back(address);
  }
  if (args_.documents) cast.insert(cast.end() - 1, Address{Role::evaluator});
  for (const Address& address : cast) {
    order_.push_back(to_string(address));
    addresses_[order_.back()] = address;
  }
}

std::vector<ChildSpec> Staff::children_of(const std::string& supervisor) const {
  std::vector<ChildSpec> specs;
  if (supervisor == "troupe") {
    for (const char* id : {"keepers", "model", "control"}) {
      specs.push_back({.id = id, .start = id, .type = runtime::ChildType::supervisor});
    }
    return specs;
  }
  for (const std::string& id : order_) {
    const Role role = addresses_.at(id).role;
    if (supervisor != supervisor_of(role)) continue;
    // The coordinator alone ends in order by itself: when the run cannot go on.
    const auto restart = role == Role::coordinator ? runtime::Restart::transient
                                                   : runtime::Restart::permanent;
    specs.push_back({.id = id, .start = to_string(role), .restart = restart});
  }
  return specs;
}

caf::actor Staff::start() { return start_supervisor("troupe", ""); }

void Staff::run() {
  is_running_ = true;
  runtime::tell(args_.company->directory.find({Role::coordinator}), run_atom_v);
}

std::string Staff::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

/// One that gives up takes the top along: nobody above could do better.
caf::actor Staff::start_supervisor(const std::string& id, const std::string& parent) {
  const bool is_top = parent.empty();
  Company& company = *args_.company;
  runtime::Cell* cell = nullptr;
  if (company.glass) {
    cell = company.glass->hire({.role = "supervisor", .name = id, .parent = parent,
                                .incarnation = 1, .restarts = 0});
    cell->set_state(runtime::CellState::idle);
  }
  const auto actor = args_.system->spawn<runtime::SupervisorActor>(runtime::SupervisorActor::Args{
      .name = id,
      .flags = {.intensity = is_top ? 0 : args_.intensity, .period = restart_period},
      .children = children_of(id),
      .start = [this, id](const runtime::effect::Start& start) { return start_child(id, start); },
      .log = [this](const std::string& who, const runtime::effect::Log& what) { heard(who, what); },
      .cell = cell});
  return caf::actor_cast<caf::actor>(actor);
}

caf::actor Staff::start_child(const std::string& supervisor, const runtime::effect::Start& start) {
  if (start.type == runtime::ChildType::supervisor) return start_supervisor(start.id, supervisor);
  return start_actor(addresses_.at(start.id), supervisor);
}

/// Who is started in another's place takes over its lane: what is in it comes first, for it may
/// still write into the arena, and the memory it uses is the dead one's.
caf::actor Staff::start_actor(const Address& address, const std::string& parent) {
  Company& company = *args_.company;
  const std::string id = to_string(address);
  uint64_t life = 0;
  std::string why;
  {
    std::lock_guard lock(mutex_);
    life = ++lives_[id];
    why = last_end_[id];
  }
  if (life > 1) {
    kernels::Queue& lane = company.lane(address);
    lane.then([dead = company.directory.find(address)](std::exception_ptr) {});
    lane.recover();
  }
  runtime::Cell* cell = nullptr;
  if (company.glass) {
    cell = company.glass->hire({.role = to_string(address.role), .name = id, .parent = parent,
                                .incarnation = life,
                                .restarts = static_cast<uint32_t>(life - 1)});
  }
  const caf::actor actor = spawn(address, cell);
  if (cell) {
    cell->set_state(runtime::CellState::idle);
    runtime::on_end(actor, [cell](const caf::error& reason) {
      cell->ended(runtime::to_string(runtime::exit_reason_of(reason)));
    });
  }
  company.directory.put(address, actor, cell);
  witness(life > 1 ? wire::Event::ACTOR_RESTARTED : wire::Event::ACTOR_STARTED, id,
          life > 1 ? why : parent);
  if (address.role == Role::crew && args_.crew_started) args_.crew_started(actor);
  if (life == 1 && id == order_.back() && args_.all_started) args_.all_started();
  if (address.role == Role::coordinator) {
    if (is_running_) runtime::tell(actor, run_atom_v);
  } else if (life > 1) {
    if (const auto coordinator = company.directory.find({Role::coordinator})) {
      runtime::tell(coordinator, restarted_atom_v, static_cast<uint8_t>(address.role),
                    id + ": " + why);
    }
  }
  return actor;
}

/// Those that wait for the disk or for their queue have a thread of their own.
caf::actor Staff::spawn(const Address& address, runtime::Cell* cell) {
  caf::actor_system& system = *args_.system;
  const auto lane_actor = [&]<class Actor>(std::type_identity<Actor>) {
    return caf::actor_cast<caf::actor>(system.spawn<Actor>(args_.company, address, cell));
  };
  switch (address.role) {
    case Role::coordinator:
      return caf::actor_cast<caf::actor>(system.spawn<CoordinatorActor>(
          args_.company, address, cell, args_.coordinator));
    case Role::journal:
      return caf::actor_cast<caf::actor>(system.spawn<JournalActor, caf::detached>(
          args_.company, address, cell, args_.keepers));
    case Role::checkpointer:
      return caf::actor_cast<caf::actor>(system.spawn<CheckpointerActor, caf::detached>(
          args_.company, address, cell, args_.keepers));
    case Role::evaluator:
      return caf::actor_cast<caf::actor>(system.spawn<EvaluatorActor, caf::detached>(
          args_.company, address, cell, args_.documents));
    case Role::crew: return lane_actor(std::type_identity<CrewActor>{});
    case Role::trainer: return lane_actor(std::type_identity<TrainerActor>{});
    case Role::stage: return lane_actor(std::type_identity<StageActor>{});
    case Role::attention_shard: return lane_actor(std::type_identity<AttentionShardActor>{});
    case Role::router: return lane_actor(std::type_identity<RouterActor>{});
    case Role::expert_shard: return lane_actor(std::type_identity<ExpertShardActor>{});
    case Role::optimizer_shard: return lane_actor(std::type_identity<OptimizerShardActor>{});
  }
  return {};
}

void Staff::heard(const std::string& supervisor, const runtime::effect::Log& what) {
  switch (what.kind) {
    case LogKind::exited: {
      {
        std::lock_guard lock(mutex_);
        last_end_[what.id] = what.text;
      }
      return witness(wire::Event::ACTOR_ENDED, what.id, what.text);
    }
    case LogKind::start_failed: return witness(wire::Event::START_FAILED, what.id, what.text);
    case LogKind::intensity_exceeded: {
      std::string text;
      {
        std::lock_guard lock(mutex_);
        if (!failure_.empty()) return;  // it goes up the tree
        failure_ = what.id + ": " + last_end_[what.id] + " (started again " +
                   std::to_string(args_.intensity) + " times within " +
                   std::to_string(restart_period.count()) + " s, and no more)";
        text = failure_;
      }
      return witness(wire::Event::ESCALATED, supervisor, text);
    }
    default: return;
  }
}

void Staff::witness(wire::Event::Kind kind, const std::string& id, std::string text) {
  wire::Event event;
  event.set_kind(kind);
  event.set_actor(id);
  {
    std::lock_guard lock(mutex_);
    event.set_incarnation(std::max<uint64_t>(1, lives_[id]));
  }
  event.set_text(std::move(text));
  args_.company->happened(std::move(event));
}

}  // namespace troupe::actors
