#include "deploy/cluster/node_command.h"

#include <sys/socket.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <mutex>
#include <vector>

#include "actors/front_desk.h"
#include "actors/launch.h"
#include "config/plan/planner.h"
#include "deploy/cluster/end_if_hung.h"
#include "deploy/cluster/gathering.h"
#include "deploy/cluster/leader_watch.h"
#include "deploy/cluster/node_line.h"
#include "deploy/cluster/node_plane.h"
#include "deploy/cluster/node_way.h"
#include "deploy/cluster/secret_option.h"
#include "deploy/cluster/tls_option.h"
#include "deploy/device_option.h"
#include "deploy/failpoint_options.h"
#include "deploy/run_setup.h"
#include "deploy/stop_signals.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/model_shape.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::within;

constexpr const char* examples = R"(Examples:
  export TROUPE_SECRET=$(head -c 32 /dev/urandom | base64)   # the same on every host
  troupe train my_run.textproto --nodes 2 --listen 10.0.0.1:7070 --insecure
  troupe node --join 10.0.0.1:7070 --insecure
  troupe node --join http://10.0.0.9:2379/my-run --insecure   # whoever leads by that lease of etcd

A node needs no file of the run: it gets its part from the process that leads it, and ends with
the run; when that process is lost, it goes on under the one that leads next.)";

/// For another to lead when the leader is lost: it takes connections at the same place from then on.
constexpr auto rejoin_time = 1s;
/// For it to find out who is there.
constexpr auto takeover_time = 30s;

/// Reaches a process where it is now, if that is elsewhere than before.
void connect(runtime::DataPlane& plane, Door& door, int process, const std::string& address) {
  std::string& known = door.addresses.at(static_cast<size_t>(process));
  if (known == address) return;
  if (!known.empty()) plane.disconnect(process);
  plane.connect(process, address);
  known = address;
}

void connect_plane(runtime::DataPlane& plane, const wire::NodeStart& start, Door& door) {
  door.addresses.resize(static_cast<size_t>(start.processes()));
  for (int p = 0; p < start.processes(); ++p) {
    if (p != start.process()) connect(plane, door, p, start.data_addresses(p));
  }
}

/// Another process stands in a lost one's place.
void meet(const wire::Peer& peer, runtime::DataPlane& plane, Door& door, Line& line) {
  connect(plane, door, peer.process(), peer.data_address());
  door.set_life(peer.process(), peer.life());
  door.get()->office.find_again(peer.process());
  line.connected(peer);
}

/// What a leader says last: the run has ended for this node, or it is to come again, for another part.
enum class Word { end, later };

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

using LeaderWatchPtr = std::unique_ptr<LeaderWatch>;

/// It hears of this process, and is given up when it is silent.
LeaderWatchPtr watch_leader(const Way& way, const wire::NodeStart& start,
                            const Line::SocketPtr& socket) {
  return std::make_unique<LeaderWatch>(
      LeaderWatch::Args{.start = start, .secret = way.secret, .socket = socket});
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

/// The leader is lost, and with it process 0. Another takes its place: this process goes on with all
/// that it has, and reaches those whose processes are others now. Throws ClusterError: nobody leads, or
/// (NoPart, Refused) whoever does goes on without it.
void follow_another(Way& way, wire::NodeStart& start, Line& line, runtime::DataPlane& plane,
                    Door& door, caf::actor_system& system, Desk& desk, LeaderWatchPtr& watch) {
  way.facts.set_held_process(start.process());
  way.facts.set_held_run(start.control_token());
  const auto socket = reach(way, rejoin_time);
  const wire::NodeStart next = runtime::join(*socket, way.secret, way.facts, within(takeover_time));
  if (!next.goes_on() || next.process() != start.process()) {
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
      if (!way.search || std::chrono::steady_clock::now() > deadline) {
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
      if (!has_copies || signals.received() != 0) throw ClusterError(why);
    }
    follow(way, start, line, plane, door, system, desk, watch, why);
  }
}

/// Plays this process's part until the leader says its last word. The plane goes before the arena, from
/// which it may still be sending; that stays for the next part, which is of the same model.
Word play(Way& way, const wire::NodeStart& start, const runtime::TlsFiles& tls, Line& line,
          std::unique_ptr<runtime::DataPlane> plane, Door& door, LeaderWatchPtr& watch,
          const StopSignals& signals, std::unique_ptr<runtime::StateArena>& held) {
  if (start.goes_on()) {
    throw NoPart(way.name + " takes this node for one that has its part already");
  }
  const config::LoadedRun run{start.run(), {}, {}, {}};
  const config::LoadedModel model{start.model(), {}};
  const auto plan = config::make_plan({.run = run, .model = model, .cores = start.cores()});
  const auto recipe = actors::make_recipe(run.run, runtime::model_shape(model.model));
  if (!held) {
    held = std::make_unique<runtime::StateArena>(kernels::parameters(recipe.shape),
                                                 actors::state_format(recipe));
  }
  runtime::StateArena& arena = *held;
  kernels::ThreadPool pool(plan.threads);
  auto company = std::make_shared<actors::Company>(recipe, plan, arena, pool,
                                                   actors::BatchSource(), start.process(),
                                                   device_of(run.run.cluster()));
  settle(*company, run.run);
  std::vector<actors::Failpoint> failpoints;
  for (const std::string& text : start.failpoints()) {
    failpoints.push_back(actors::failpoint_of(text));
  }
  company->failpoints.set(failpoints, {});
  company->failpoints.strike = strike_process;
  company->glass = runtime::Glass::create(start.run_folder());
  if (!start.is_handed_state()) {
    runtime::initialise(arena, recipe.seed, recipe.shape.init_std, [&](int tensor) {
      return company->placement.holds(start.process(), tensor);
    });
  }
  const auto plane_here = std::move(plane);  // ends before what stands above
  company->office.set_plane(plane_here.get());
  door.set_lives({start.lives().begin(), start.lives().end()});
  door.set(company);
  door.addresses.clear();
  connect_plane(*plane_here, start, door);
  const auto hang_watch = end_if_hung(*company);  // also while what follows is taken down
  actors::SystemConfig config(start.control_token(), tls);
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
    word = stay(way, start, line, *plane_here, door, system, desk, watch, signals);
  }
  door.set(nullptr);
  return word;
}

Word play_one_part(Way& way, const runtime::TlsFiles& tls, Line& line, Door& door,
                   const StopSignals& signals, std::unique_ptr<runtime::StateArena>& held) {
  auto plane = make_node_plane(
      way.leader.host,
      {.received =
           [&door](int, runtime::Parcel parcel) {
             if (const auto company = door.get()) company->office.received(std::move(parcel));
           },
       .lost =
           [&line, &door](int peer, const std::string& why, const std::vector<std::string>&) {
             if (const auto company = door.get()) company->office.lose(peer);
             line.unreachable(peer, door.life(peer), why);
           }});
  way.facts.set_data_plane(plane->describe());
  way.facts.set_data_address(plane->address());
  try {
    const wire::NodeStart start = join_whoever_leads(way, line, takeover_time);
    way.facts.set_held_process(start.process());
    way.facts.set_held_run(start.control_token());
    search_by(way, start, line.socket());
    LeaderWatchPtr watch = watch_leader(way, start, line.socket());
    return play(way, start, tls, line, std::move(plane), door, watch, signals, held);
  } catch (const runtime::ComeAgain&) {
    return Word::later;
  } catch (const std::exception& error) {
    if (const int signal = signals.received()) {
      throw StoppedBySignal(signal, "stopped by " + signal_name(signal));
    }
    line.lost(error.what());
    throw;
  }
}

/// Comes to the run anew, with nothing of it, when it goes on without what this node holds: a host that was
/// cut off comes back by itself. Without a lease nobody could say whether there is a run any more.
bool comes_back(Way& way, Line& line, std::unique_ptr<runtime::StateArena>& held,
                const ClusterError& error) {
  const bool held_a_part = way.facts.held_process() != 0;
  if (!way.search || !held_a_part) return false;
  std::cerr << "note: " << error.what() << "; this node comes again with nothing" << std::endl;
  way.facts.clear_held_process();
  way.facts.clear_held_run();
  held.reset();
  line.set_socket(reach(way, takeover_time));
  return true;
}

/// One part after the other, as long as there is one.
void play_parts(Way& way, const runtime::TlsFiles& tls, Line& line, const StopSignals& signals) {
  Door door;
  std::unique_ptr<runtime::StateArena> held;  // of the run, whatever this process's part is
  while (true) {
    try {
      if (play_one_part(way, tls, line, door, signals, held) == Word::end) return;
      line.set_socket(reach(way, takeover_time));
    } catch (const RunHasEnded&) {
      throw;
    } catch (const ClusterError& error) {
      if (const int signal = signals.received()) {
        throw StoppedBySignal(signal, "stopped by " + signal_name(signal));
      }
      if (!comes_back(way, line, held, error)) throw;
    }
  }
}

void run_node(const NodeOptions& options) {
  if (options.tls.is_set()) runtime::check_tls(options.tls);
  Way way = way_of(options);
  try {
    Line line(reach(way, way.wait));
    StopSignals signals;  // before the first thread that takes any
    signals.on_stop([&] {
      line.lost("stopped by " + signal_name(signals.received()));
      *way.is_stopped = true;
      ::shutdown(line.socket()->file(), SHUT_RD);
    });
    play_parts(way, options.tls, line, signals);
    signals.on_stop({});
  } catch (const RunHasEnded& end) {
    if (end.has_failed) throw;
    std::cout << end.what() << std::endl;
  }
}

}  // namespace

void add_node_command(CLI::App& app) {
  auto options = std::make_shared<NodeOptions>();
  CLI::App* command = app.add_subcommand("node", "Be one of the processes of a run");
  command->add_option("--join", options->join, "HOST:PORT of the process that leads the run, or http://HOST:PORT/NAME of etcd and "
                          "its lease")
      ->required();
  add_secret_option(*command, options->secret);
  command->add_option("--wait", options->wait, "seconds to wait for it to listen")
      ->check(CLI::Range(0, 1'000'000));
  command->add_flag("--insecure", options->is_insecure,
                    "token messages may travel plain between hosts");
  add_tls_options(*command, options->tls, "Options");
  command->footer(examples);
  command->callback([options] { run_node(*options); });
}

}  // namespace troupe::deploy
