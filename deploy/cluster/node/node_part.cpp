#include "deploy/cluster/node/node_part.h"

#include <memory>
#include <mutex>
#include <vector>

#include "actors/launch.h"
#include "actors/messages/front_desk.h"
#include "config/plan/planner.h"
#include "deploy/cluster/end_if_hung.h"
#include "deploy/cluster/held_parts.h"
#include "deploy/options/device_option.h"
#include "deploy/train/collectives.h"
#include "deploy/train/failpoint_options.h"
#include "deploy/train/run_setup.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::within;

/// For another to lead when the leader is lost: it takes connections at the same place from then on.
constexpr auto rejoin_time = 1s;
/// For it to find out who is there.
constexpr auto takeover_time = 30s;
/// How often a node that waits for blocks looks whether its leader is there.
constexpr auto look_time = 20ms;

/// Reaches a process where it is now, if that is elsewhere than before.
void connect(runtime::DataPlane& plane, Door& door, int process, const std::string& address) {
  std::string& known = door.addresses.at(static_cast<size_t>(process));
  if (known == address) return;
  if (!known.empty()) plane.disconnect(process);
  known.clear();
  plane.connect(process, address);
  known = address;
}

void connect_plane(runtime::DataPlane& plane, const wire::NodeStart& start, Door& door) {
  door.addresses.resize(static_cast<size_t>(start.data_addresses_size()));
  for (int p = 0; p < start.data_addresses_size(); ++p) {
    const std::string& address = start.data_addresses(p);
    if (p == start.process()) continue;
    if (!address.empty()) {
      connect(plane, door, p, address);
    } else if (const auto company = door.get()) {
      company->office.lose(p);
    }
  }
}

/// Another process stands in a lost one's place. It may be gone again.
void meet(const wire::Peer& peer, runtime::DataPlane& plane, Door& door, Line& line) {
  try {
    connect(plane, door, peer.process(), peer.data_address());
  } catch (const runtime::DataPlaneError& error) {
    return line.unreachable(peer.process(), peer.life(), error.what());
  }
  door.set_life(peer.process(), peer.life());
  door.get()->office.find_again(peer.process());
  line.connected(peer);
}

/// Waits until the leader says so. Throws ClusterError when it is gone.
Word wait_for_word(runtime::DataPlane& plane, Door& door, Line& line) {
  const auto socket = line.socket();
  while (true) {
    if (!socket->wait(within(1h))) continue;
    const wire::JoinFrame frame = socket->receive(within(30s));
    if (frame.has_finish()) return Word::end;
    if (frame.has_later()) return Word::later;
    if (frame.has_peer()) meet(frame.peer(), plane, door, line);
  }
}

/// Where the front desk is, and whom it is to ask here.
struct Desk {
  std::mutex mutex;
  actors::FrontDeskHandle handle;
  caf::actor crew;

  void hand_in(int process) {
    std::lock_guard lock(mutex);
    if (crew) runtime::tell(handle, actors::joined_atom_v, int32_t{process}, crew);
  }
  void set_crew(const caf::actor& one) {
    std::lock_guard lock(mutex);
    crew = one;
  }
};

void find_desk(Desk& desk, caf::actor_system& system, actors::Company& company,
               const std::string& host, const wire::NodeStart& start) {
  const auto handle =
      actors::reach_front_desk(system, host, static_cast<uint16_t>(start.control_port()));
  company.directory.put({actors::Role::coordinator}, caf::actor_cast<caf::actor>(handle));
  std::lock_guard lock(desk.mutex);
  desk.handle = handle;
}

void says_what_it_has_measured(Way& way, const actors::Company& company) {
  way.facts.set_usual_step_ms(company.deadlines.times.typical().count());
}

bool held_nothing(const wire::NodeStart& start) {
  return !start.has_regroup() || start.regroup().held(start.process()).processes() == 0;
}

/// Its part, with the actors that it has for it.
void says_that_it_holds(Way& way, const actors::Company& company) {
  way.facts.set_held_process(company.process);
  way.facts.set_held_processes(company.placement.processes());
  way.facts.set_held_buddy_stride(company.plan.buddy_stride);
  const auto [epoch, step] = company.prepared.get();
  *way.facts.mutable_held_prepared_epoch() = epoch;
  way.facts.set_held_prepared_step(step);
  way.facts.set_held_state(states_held(company.arena, company.placement, company.process).oldest);
  way.facts.set_is_at_rest(false);
  way.facts.clear_also_held();
}

/// What it held before the change that its part began with, as long as there was no step behind that.
void says_what_it_held(Way& way, const wire::NodeStart& start) {
  way.facts.clear_also_held();
  if (held_nothing(start) || way.facts.held_state() != start.regroup().state()) return;
  wire::HeldPart before = start.regroup().held(start.process());
  for (const wire::HeldPart& other : before.also()) *way.facts.add_also_held() = other;
  before.clear_also();
  *way.facts.add_also_held() = std::move(before);
}

/// Behind a change. A step that was prepared may have been committed.
bool is_before_its_first_step(const actors::Company& company, const wire::NodeStart& start) {
  const uint64_t state = start.regroup().state();
  if (!company.has_state || company.prepared.get().second > state) return false;
  const StatesHeld held = states_held(company.arena, company.placement, company.process);
  return held.oldest == state && held.newest == state;
}

/// It has no actors any more, and all of a state, or nothing that is of use.
void comes_to_rest(Way& way, const actors::Company& company, const wire::NodeStart& start) {
  const StatesHeld held = states_held(company.arena, company.placement, company.process);
  way.is_between_parts = true;
  says_what_it_has_measured(way, company);
  if (!company.has_state || held.oldest != held.newest) return holds_nothing(way.facts);
  says_that_it_holds(way, company);
  says_what_it_held(way, start);
  way.facts.set_is_at_rest(true);
}

/// The leader is lost, and with it process 0. Another takes its place: this process goes on with all
/// that it has, and reaches those whose processes are others now. Throws ClusterError: nobody leads, or
/// (NoPart, Refused) whoever does goes on without it.
void follow_another(Way& way, wire::NodeStart& start, Line& line, runtime::DataPlane& plane,
                    Door& door, caf::actor_system& system, Desk& desk, LeaderWatchPtr& watch) {
  says_that_it_holds(way, *door.get());
  says_what_it_has_measured(way, *door.get());
  const auto socket = reach(way, rejoin_time);
  const Joining joining(line, socket);
  expect_to_go_on(way);
  const wire::NodeStart next = runtime::join(*socket, way.secret, way.facts, within(takeover_time));
  if (!next.goes_on() || next.process() != start.process() || next.processes() != start.processes()) {
    throw NoPart(way.name + " has another part for this node than it had");
  }
  search_by(way, next, socket);
  line.set_socket(socket);
  watch = watch_leader(way, next, socket);
  const auto company = door.get();
  connect_plane(plane, next, door);
  for (int p = 0; p < next.processes(); ++p) company->office.find_again(p);
  door.set_lives({next.lives().begin(), next.lives().end()});
  find_desk(desk, system, *company, socket->peer_host(), next);
  desk.hand_in(next.process());
  start = next;
  line.ready();
}

/// As above; where a lease says who leads, whoever that is may be lost before this node is there.
void follow(Way& way, wire::NodeStart& start, Line& line, runtime::DataPlane& plane, Door& door,
            caf::actor_system& system, Desk& desk, LeaderWatchPtr& watch, const std::string& why) {
  const auto deadline = within(way.wait);
  while (true) {
    try {
      return follow_another(way, start, line, plane, door, system, desk, watch);
    } catch (const runtime::ComeAgain&) {
      throw;
    } catch (const RunHasEnded&) {
      throw;
    } catch (const runtime::Refused& error) {
      throw NoPart(why + "; " + error.what());
    } catch (const NoPart&) {
      throw;
    } catch (const ClusterError& error) {
      if (!way.search || *way.is_stopped || std::chrono::steady_clock::now() > deadline) {
        throw ClusterError(why + "; " + error.what());
      }
    }
  }
}

/// Until a leader says what it says last, whoever it is then.
Word stay(Way& way, wire::NodeStart start, Line& line, runtime::DataPlane& plane, Door& door,
          caf::actor_system& system, Desk& desk, LeaderWatchPtr& watch,
          const StopSignals& signals) {
  const bool has_copies = door.get()->plan.redundancy > 0;
  while (true) {
    std::string why;
    try {
      return wait_for_word(plane, door, line);
    } catch (const ClusterError& error) {
      why = watch->verdict().empty() ? error.what() : watch->verdict();
      if (way.search && !way.search->verdict().empty()) why = way.search->verdict();
      if (signals.received() != 0) throw ClusterError(why);
    }
    // The change that this part began with has failed elsewhere.
    if (start.has_regroup() && is_before_its_first_step(*door.get(), start)) return Word::failed;
    if (!has_copies) throw ClusterError(why);
    if (!door.get()->has_state) {
      holds_nothing(way.facts);
      way.is_between_parts = true;
      throw ClusterError(why);
    }
    try {
      follow(way, start, line, plane, door, system, desk, watch, why);
    } catch (const runtime::ComeAgain&) {
      return Word::later;
    }
  }
}

void set_failpoints(actors::Company& company, const wire::NodeStart& start) {
  std::vector<actors::Failpoint> failpoints;
  for (const std::string& text : start.failpoints()) failpoints.push_back(actors::failpoint_of(text));
  company.failpoints.set(failpoints, {});
  company.failpoints.strike = strike_process;
}

/// Waits until everybody reaches everybody, then lets blocks go where they belong. Throws ClusterError: who leads,
/// or another, is gone; ComeAgain.
void move_blocks(actors::Mover& mover, runtime::DataPlane& plane, Line& line, Door& door) {
  const auto socket = line.socket();
  const auto hear = [&] {
    const wire::JoinFrame frame = socket->receive(within(30s));
    if (frame.has_later()) throw runtime::ComeAgain(socket->peer() + ": " + frame.later().text());
    return frame.has_move();
  };
  while (!socket->wait(within(1h)) || !hear()) {
  }
  mover.send(plane);
  while (!mover.take(look_time)) {
    if (socket->wait(within(0s))) hear();
  }
  door.set_mover(nullptr);  // what comes behind the word is for actors
  if (const auto company = door.get()) company->has_state = true;
  line.moved();
}

/// What a start says of the plan, and who held what before it.
struct Planned {
  explicit Planned(const wire::NodeStart& start)
      : run{start.run(), {}, {}, {}}, model{start.model(), {}},
        recipe(actors::make_recipe(run.run, runtime::model_shape(model.model))) {}

  const config::LoadedRun run;
  const config::LoadedModel model;
  const actors::Recipe recipe;
};

/// Null: nothing moves.
std::shared_ptr<actors::Mover> make_mover(const wire::NodeStart& start, const Planned& planned,
                                          runtime::StateArena& arena) {
  if (!start.has_regroup()) return nullptr;
  HeldParts parts({.run = planned.run, .model = planned.model, .cores = start.cores(),
                   .shape = planned.recipe.shape, .arena = arena});
  return std::make_shared<actors::Mover>(actors::Mover::Args{
      .arena = arena, .state = start.regroup().state(), .process = start.process(),
      .moves = parts.moves(start.regroup(), start.processes(), start.buddy_stride())});
}

/// Gives what others are to have, and goes.
Word leave(const PartArgs& part, const std::shared_ptr<actors::Mover>& mover, runtime::DataPlane& plane) {
  connect_plane(plane, part.start, part.door);
  part.line.ready();
  move_blocks(*mover, plane, part.line, part.door);
  return wait_for_word(plane, part.door, part.line);
}

/// However a part ends, nothing comes for it any more.
class DoorOfPart {
 public:
  explicit DoorOfPart(Door& door) : door_(door) {}
  ~DoorOfPart() {
    door_.set_mover(nullptr);
    door_.set(nullptr);
  }
  DoorOfPart(const DoorOfPart&) = delete;
  DoorOfPart& operator=(const DoorOfPart&) = delete;

 private:
  Door& door_;
};

}  // namespace

void holds_nothing(wire::NodeFacts& facts) {
  facts.clear_held_process();
  facts.clear_held_processes();
  facts.clear_held_buddy_stride();
  facts.clear_held_state();
  facts.clear_also_held();
  facts.clear_held_prepared_epoch();
  facts.clear_held_prepared_step();
  facts.clear_is_at_rest();
}

LeaderWatchPtr watch_leader(const Way& way, const wire::NodeStart& start, const Line::SocketPtr& socket) {
  return std::make_unique<LeaderWatch>(
      LeaderWatch::Args{.start = start, .secret = way.secret, .socket = socket});
}

/// The plane goes before the arena, from which it may still be sending; that stays for the next part, which is
/// of the same model.
Word play(const PartArgs& part, std::unique_ptr<runtime::DataPlane> plane) {
  const auto& [way, start, tls, line, door, watch, signals, held] = part;
  if (start.goes_on()) {
    throw NoPart(way.name + " takes this node for one that has its part already");
  }
  const Planned planned(start);
  const actors::Recipe& recipe = planned.recipe;
  if (!held || held_nothing(start)) {
    holds_nothing(way.facts);
    held = std::make_unique<runtime::StateArena>(kernels::parameters(recipe.shape),
                                                 actors::state_format(recipe));
  }
  runtime::StateArena& arena = *held;
  const auto mover = make_mover(start, planned, arena);
  const auto plane_here = std::move(plane);  // ends before what stands above
  const DoorOfPart door_of_part(door);
  door.addresses.clear();
  door.set_lives({start.lives().begin(), start.lives().end()});
  door.set_mover(mover);
  if (start.process() >= start.processes()) return leave(part, mover, *plane_here);
  auto plan = config::make_plan({.run = planned.run, .model = planned.model, .cores = start.cores()});
  plan.buddy_stride = start.buddy_stride();
  actors::expect_part(plan, recipe.shape, start.process(), device_of(planned.run.run.cluster()), arena);
  kernels::ThreadPool pool(plan.threads);
  auto company = std::make_shared<actors::Company>(recipe, plan, arena, pool,
                                                   actors::BatchSource(), start.process(),
                                                   device_of(planned.run.run.cluster()));
  settle(*company, planned.run.run, start.run_folder());
  set_failpoints(*company, start);
  company->glass = runtime::Glass::create(start.run_folder());
  company->has_state = !start.is_handed_state();
  if (company->has_state) {
    runtime::initialise(arena, recipe.seed, recipe.shape.init_std, [&](int tensor) {
      return company->placement.holds(start.process(), tensor);
    });
  }
  company->office.set_plane(plane_here.get());
  take_collectives(*company, planned.run.run);
  door.set(company);
  connect_plane(*plane_here, start, door);
  const auto hang_watch = end_if_hung(*company);  // also while what follows is taken down
  actors::SystemConfig config(start.control_token(), tls);
  config.look_long(*company);
  caf::actor_system system(config);
  Word word = Word::end;
  Desk desk;
  find_desk(desk, system, *company, line.socket()->peer_host(), start);
  {
    const actors::Outpost outpost(
        {.company = company,
         .actors = &system,
         .crew_started =
             [&](const caf::actor& crew) {
               desk.set_crew(crew);
               desk.hand_in(start.process());
             },
         .happened = [&](const wire::Event& event) { line.happened(event); },
         .gave_up = [&](const std::string& why) { line.lost(why); }});
    line.ready();
    if (mover) move_blocks(*mover, *plane_here, line, door);
    way.is_between_parts = false;
    word = stay(way, start, line, *plane_here, door, system, desk, watch, signals);
  }
  door.set(nullptr);
  if (word != Word::end) comes_to_rest(way, *company, start);
  return word;
}

}  // namespace troupe::deploy
