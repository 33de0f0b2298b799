#include "deploy/cluster/node/node_command.h"

#include <csignal>
#include <iostream>
#include <memory>

#include "deploy/cluster/lead/gathering.h"
#include "deploy/cluster/node/node_line.h"
#include "deploy/cluster/node/node_part.h"
#include "deploy/cluster/node/node_way.h"
#include "deploy/cluster/node_plane.h"
#include "deploy/cluster/secret_option.h"
#include "deploy/cluster/tls_option.h"
#include "deploy/process/stop_signals.h"
#include "runtime/cluster/cluster_error.h"

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
/// So often one behind the other a node comes again for a part that it does not get.
constexpr int most_failures = 10;

Word play_one_part(Way& way, const runtime::TlsFiles& tls, Line& line, Door& door,
                   const StopSignals& signals, std::unique_ptr<runtime::StateArena>& held) {
  auto plane = make_node_plane(
      way.leader.host,
      {.received =
           [&door](int peer, runtime::Parcel parcel) {
             if (const auto mover = door.get_mover()) return mover->received(peer, std::move(parcel));
             if (const auto company = door.get()) company->office.received(std::move(parcel));
           },
       .lost =
           [&line, &door](int peer, const std::string& why, const std::vector<std::string>&) {
             if (const auto mover = door.get_mover()) mover->lose(peer, why);
             if (const auto company = door.get()) company->office.lose(peer);
             line.unreachable(peer, door.life(peer), why);
           }});
  way.facts.set_data_plane(plane->describe());
  way.facts.set_data_address(plane->address());
  try {
    const wire::NodeStart start = join_whoever_leads(way, line, takeover_time);
    if (start.has_regroup()) way.is_between_parts = true;
    way.facts.set_held_run(start.control_token());
    search_by(way, start, line.socket());
    const bool is_leaving = start.process() >= start.processes();
    LeaderWatchPtr watch = is_leaving ? nullptr : watch_leader(way, start, line.socket());
    return play({.way = way, .start = start, .tls = tls, .line = line, .door = door, .watch = watch,
                 .signals = signals, .held = held},
                std::move(plane));
  } catch (const runtime::ComeAgain&) {
    way.is_between_parts = true;
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
/// cut off comes back by itself. Without a lease nobody could say whether there is a run any more, but who was
/// late between two parts has just heard of it.
bool comes_back(Way& way, Line& line, std::unique_ptr<runtime::StateArena>& held,
                const ClusterError& error) {
  if ((!way.search && !way.is_between_parts) || way.facts.held_run().empty()) return false;
  std::cerr << "note: " << error.what() << "; this node comes again with nothing" << std::endl;
  holds_nothing(way.facts);
  way.facts.clear_held_run();
  way.facts.clear_usual_step_ms();
  way.is_between_parts = false;
  held.reset();
  go_to(way, line, takeover_time);
  return true;
}

/// Who has a part of a run that is about to have other processes comes again, also when that fails, or whoever
/// leads it is lost meanwhile.
bool comes_again(Way& way, Line& line) {
  if (!way.is_between_parts) return false;
  try {
    go_to(way, line, rejoin_time);
  } catch (const RunHasEnded&) {
    throw;
  } catch (const ClusterError&) {
    return false;
  }
  return true;
}

/// One part after the other, as long as there is one.
void play_parts(Way& way, const runtime::TlsFiles& tls, Line& line, const StopSignals& signals) {
  Door door;
  std::unique_ptr<runtime::StateArena> held;
  for (int failures = 0;;) {
    try {
      const Word word = play_one_part(way, tls, line, door, signals, held);
      if (word == Word::end) return;
      failures = 0;
      go_to(way, line, word == Word::failed ? rejoin_time : takeover_time);
    } catch (const RunHasEnded&) {
      throw;
    } catch (const ClusterError& error) {
      if (const int signal = signals.received()) {
        throw StoppedBySignal(signal, "stopped by " + signal_name(signal));
      }
      const bool is_refused = dynamic_cast<const runtime::Refused*>(&error) != nullptr;
      if (!is_refused && ++failures <= most_failures && comes_again(way, line)) continue;
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
      line.hear_no_more();
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
