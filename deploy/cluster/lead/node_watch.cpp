#include "deploy/cluster/lead/node_watch.h"

#include <fmt/format.h>

#include "runtime/cluster/join/members.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;

/// A process that is killed closes its sockets shortly before the system says that it has ended.
constexpr auto moment = 20ms;
/// A killed process ends when the system lets go of its memory.
constexpr auto end_time = 10s;

}  // namespace

NodeWatch::NodeWatch(Args args)
    : events_(std::move(args.events)), kills_(args.kills),
      heartbeats_(
          {.process = 0,
           .life = 1,
           .seal = std::move(args.seal),
           .at = {args.host, 0},
           .events = {.suspected =
                          [this](const runtime::Suspicion& one) {
                            events_.silent(one.process, one.life,
                                           name(one.process) + " is " + describe(one));
                          },
                      .unheard =
                          [this](int process) {
                            events_.unheard(
                                process,
                                fmt::format("no heartbeat of {} has come within {} s (UDP, port {} "
                                            "here): if its host falls silent, TCP notices it later",
                                            name(process), runtime::Heartbeats::judgement.patience,
                                            port()));
                          }}}),
      exits_([this](int process, uint32_t life, const std::string& how) {
        events_.ended(process, life, name(process) + " " + how);
      }) {}

void NodeWatch::take(int process, uint32_t life, const wire::NodeFacts& facts) {
  HandlePtr handle;
  if (auto found = runtime::ProcessHandle::of(facts)) {
    handle = std::make_shared<runtime::ProcessHandle>(std::move(*found));
  }
  {
    std::lock_guard lock(mutex_);
    names_[process] = runtime::Members::describe(process, facts);
    handles_[process] = handle;
  }
  heartbeats_.watch(process, life, std::nullopt);
  if (handle) exits_.watch(process, life, handle);
}

NodeWatch::HandlePtr NodeWatch::handle(int process) const {
  std::lock_guard lock(mutex_);
  const auto place = handles_.find(process);
  return place == handles_.end() ? nullptr : place->second;
}

std::string NodeWatch::name(int process) const {
  std::lock_guard lock(mutex_);
  return names_.at(process);
}

std::string NodeWatch::how_it_ended(int process) const {
  const HandlePtr ended = handle(process);
  return ended && ended->wait(runtime::within(moment)) ? ended->how_it_ended() : "";
}

std::string NodeWatch::fence(int process) {
  heartbeats_.forget(process);
  exits_.forget(process);
  const std::string who = name(process);
  const HandlePtr node = handle(process);
  if (!node) return who + " is on another machine: its connections are closed, its number is void";
  if (node->wait(runtime::within(0ms))) return who + " " + node->how_it_ended();
  if (!kills_) return who + " is left to itself: its connections are closed, its number is void";
  const auto start = std::chrono::steady_clock::now();
  node->kill();
  const bool has_ended = node->wait(runtime::within(end_time));
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  return who +
         (has_ended
              ? fmt::format(" still lived and was killed: ended after {:.1f} ms", took.count())
              : fmt::format(" was killed and has not ended within {:.0f} ms", took.count()));
}

}  // namespace troupe::deploy
