#include "deploy/train/failpoint_options.h"

#include <unistd.h>

#include <csignal>

#include "deploy/chaos/out_of_memory.h"
#include "runtime/cluster/memory_group.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

using actors::Failpoint;
using actors::FailpointError;
using actors::Fault;
using actors::Role;

/// "7:20" is seed 7 and 20 failures.
std::pair<uint64_t, int> seed_and_count(const std::string& text) {
  const size_t colon = text.find(':');
  try {
    size_t end = 0;
    const uint64_t seed = std::stoull(text, &end);
    if (end != std::min(colon, text.size()) || text.starts_with('-')) throw std::invalid_argument("");
    if (colon == std::string::npos) return {seed, 10};
    const int count = std::stoi(text.substr(colon + 1), &end);
    if (end != text.size() - colon - 1 || count < 1) throw std::invalid_argument("");
    return {seed, count};
  } catch (const std::logic_error&) {
    throw FailpointError("found '" + text + "', wanted SEED or SEED:COUNT, such as 7:20");
  }
}

void add_random(std::vector<Failpoint>& all, const std::string& text, std::vector<Fault> kinds,
                const FailpointField& field) {
  if (text.empty()) return;
  const auto [seed, count] = seed_and_count(text);
  const auto drawn = actors::random_failpoints(
      {.seed = seed, .count = count, .steps = static_cast<uint64_t>(field.steps),
       .counts = actor_counts(field), .kinds = std::move(kinds),
       .checkpoint_every = static_cast<uint64_t>(field.checkpoint_every)});
  all.insert(all.end(), drawn.begin(), drawn.end());
}

}  // namespace

std::vector<int> actor_counts(const FailpointField& field) {
  std::vector<int> counts(actors::roles, 0);
  for (const auto& address : actors::cast_of(field.plan, field.shape)) {
    ++counts[static_cast<size_t>(address.role)];
  }
  counts[static_cast<size_t>(Role::journal)] = 1;
  counts[static_cast<size_t>(Role::checkpointer)] = 1;
  return counts;
}

void add_failpoint_options(CLI::App& command, FailpointOptions& options) {
  const auto add = [&](const char* name, std::vector<std::string>& values, const char* help) {
    command.add_option(name, values, help)
        ->take_all()->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->group("Failures");
  };
  add("--kill", options.kill, "kill an actor: ROLE[/INDEX]@STEP:PHASE, such as expert_shard/1@7:backward");
  add("--fail", options.fail, "an exception there");
  add("--drop", options.drop, "its answer never comes; see cluster.step_deadline");
  add("--delay", options.delay, "its answer comes later: ROLE[/INDEX]@STEP:PHASE+MILLISECONDS");
  add("--flip", options.flip,
      "another bit in what it sends (forward, backward), or in an optimizer shard's weights (begin) "
      "or gradient (prepare): changes the run, and train.unit_hashes finds it; a flip of weights is "
      "found and healed where train.hash_every and train.verify_state are on");
  add("--crash", options.crash, "SIGKILL to the process that has the actor");
  add("--segfault", options.segfault, "SIGSEGV to it");
  add("--exit", options.exit, "it ends by itself");
  add("--freeze", options.freeze, "SIGSTOP to it");
  add("--hang", options.hang, "the actor's handler never comes back");
  add("--oom", options.oom, "it takes memory until the kernel kills it (wants cgroups it may write to)");
  add("--disk", options.disk,
      "troupe chaos fills the run's disk then: journal or checkpointer, ...+MILLISECONDS; here a witness alone");
  add("--link", options.link,
      "troupe chaos cuts the cable of a process's host then: crew/P, ...+MILLISECONDS; here a witness alone");
  add("--oneway", options.oneway, "troupe chaos loses what that host sends then; likewise");
  command.add_option("--random-kills", options.random_kills, "SEED[:COUNT] kills, 10 by default")
      ->group("Failures");
  command.add_option("--random-faults", options.random_faults, "SEED[:COUNT] failures of actors of every kind")
      ->group("Failures");
  command.add_option("--random-crashes", options.random_crashes, "SEED[:COUNT] ends of processes")
      ->group("Failures");
}

std::vector<Failpoint> failpoints_of(const FailpointOptions& options,
                                     const FailpointField& field) {
  std::vector<Failpoint> all;
  const auto add = [&](Fault fault, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) all.push_back(actors::parse_failpoint(fault, text));
  };
  add(Fault::kill, options.kill);
  add(Fault::fail, options.fail);
  add(Fault::drop, options.drop);
  add(Fault::delay, options.delay);
  add(Fault::flip, options.flip);
  add(Fault::crash, options.crash);
  add(Fault::segfault, options.segfault);
  add(Fault::exit, options.exit);
  add(Fault::freeze, options.freeze);
  add(Fault::hang, options.hang);
  add(Fault::oom, options.oom);
  add(Fault::disk, options.disk);
  add(Fault::link, options.link);
  add(Fault::oneway, options.oneway);
  auto counts = actor_counts(field);
  counts[static_cast<size_t>(Role::evaluator)] = field.has_evaluator ? 1 : 0;
  check_means(all);
  for (const Failpoint& f : all) {
    const int count = counts[static_cast<size_t>(f.role)];
    if (f.index >= 0 && f.index < count) continue;
    throw FailpointError("failpoint " + actors::to_string(f) + ": this run has " +
                         std::to_string(count) + " actors of role " + actors::to_string(f.role) +
                         ", counted from 0");
  }
  add_random(all, options.random_kills, {Fault::kill}, field);
  add_random(all, options.random_faults, {Fault::kill, Fault::fail, Fault::drop, Fault::delay}, field);
  add_random(all, options.random_crashes, {Fault::crash, Fault::segfault, Fault::exit}, field);
  return all;
}

void check_means(const std::vector<Failpoint>& failpoints) {
  for (const Failpoint& f : failpoints) {
    if (f.fault != Fault::oom) continue;
    if (const std::string why = runtime::why_no_memory_group(); !why.empty()) {
      throw FailpointError("failpoint " + actors::to_string(f) + " cannot be: " + why);
    }
    return;
  }
}

void strike_process(Fault fault) {
  switch (fault) {
    case Fault::segfault:
      std::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      return;
    case Fault::exit: ::_exit(1);
    case Fault::freeze: ::raise(SIGSTOP); return;
    case Fault::hang:
      while (true) ::pause();
    case Fault::oom: run_out_of_memory();
    default: ::raise(SIGKILL);
  }
}

std::vector<std::string> fired_failpoints(const std::filesystem::path& events) {
  std::vector<std::string> fired;
  if (!std::filesystem::exists(events)) return fired;
  for (const wire::Event& event : runtime::read_events(events).events) {
    if (event.kind() == wire::Event::FAILPOINT) fired.push_back(event.text());
  }
  return fired;
}

}  // namespace troupe::deploy
