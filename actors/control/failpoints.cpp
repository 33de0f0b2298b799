#include "actors/control/failpoints.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "kernels/random.h"

namespace troupe::actors {
namespace {

constexpr std::array phase_names{"begin", "forward", "backward", "prepare",
                                 "commit", "apply", "checkpoint"};

[[noreturn]] void refuse(std::string_view text, const std::string& what) {
  throw FailpointError("failpoint '" + std::string(text) + "': " + what +
                       "; wanted ROLE[/INDEX]@STEP:PHASE, such as expert_shard/1@7:backward");
}

template <class Number>
Number number_of(std::string_view digits, std::string_view text, const char* name) {
  Number value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.starts_with('-')) {
    refuse(text, std::string(name) + " is '" + std::string(digits) + "', no number");
  }
  return value;
}

std::string phases_text(Role role) {
  std::string list;
  for (const Phase phase : phases_of(role)) {
    list += (list.empty() ? "" : ", ") + std::string(to_string(phase));
  }
  return list;
}

Phase phase_of(std::string_view name, Role role, std::string_view text) {
  for (const Phase phase : phases_of(role)) {
    if (name == to_string(phase)) return phase;
  }
  refuse(text, std::string(to_string(role)) + " has no phase '" + std::string(name) +
                   "', it has " + phases_text(role));
}

/// The first step from `step` on after which a checkpoint is made.
uint64_t checkpoint_step(uint64_t step, const RandomFailpointsArgs& args) {
  if (args.checkpoint_every == 0) return args.steps;
  return std::min(args.steps, (step + args.checkpoint_every - 1) / args.checkpoint_every *
                                  args.checkpoint_every);
}

}  // namespace

const char* to_string(Fault fault) {
  constexpr std::array names{"kill",  "fail",     "drop", "delay", "flip",
                             "crash", "segfault", "exit", "freeze", "hang", "oom",   "disk",  "link",     "oneway"};
  static_assert(names.size() == faults);
  return names[static_cast<size_t>(fault)];
}

bool is_of_process(Fault fault) { return fault >= Fault::crash && !is_of_surroundings(fault); }

bool is_of_surroundings(Fault fault) { return fault >= Fault::disk; }

bool shows_by_its_time(Fault fault) { return fault == Fault::drop || fault == Fault::hang; }
bool has_delay(Fault fault) { return fault == Fault::delay || is_of_surroundings(fault); }

bool is_at_checkpoint(const Failpoint& f) {
  return f.phase == Phase::checkpoint || f.role == Role::checkpointer;
}

const char* to_string(Phase phase) { return phase_names[static_cast<size_t>(phase)]; }

std::vector<Phase> phases_of(Role role) {
  switch (role) {
    case Role::coordinator:
      return {Phase::begin, Phase::prepare, Phase::commit, Phase::apply, Phase::checkpoint};
    case Role::journal: return {Phase::commit, Phase::apply};
    case Role::checkpointer: return {Phase::begin, Phase::checkpoint};
    case Role::trainer: return {Phase::begin, Phase::forward, Phase::prepare};
    case Role::evaluator: return {Phase::begin};
    case Role::stage:
    case Role::attention_shard:
    case Role::router:
    case Role::expert_shard: return {Phase::begin, Phase::forward, Phase::backward};
    case Role::optimizer_shard:
      return {Phase::begin, Phase::prepare, Phase::commit, Phase::apply};
    case Role::crew: return {Phase::begin, Phase::forward, Phase::prepare, Phase::commit};
  }
  return {};
}

bool can_have(Role role, Fault fault) {
  const bool waits_for_disks = role == Role::journal || role == Role::checkpointer;
  if (fault == Fault::hang) return !waits_for_disks;
  if (fault == Fault::disk) return waits_for_disks;
  if (is_of_surroundings(fault)) return role == Role::crew;
  if (fault == Fault::kill || fault == Fault::fail || is_of_process(fault)) return true;
  return role == Role::stage || role == Role::attention_shard || role == Role::router ||
         role == Role::expert_shard || role == Role::optimizer_shard;
}

bool can_flip(Role role, Phase phase) {
  if (role == Role::optimizer_shard) return phase == Phase::begin || phase == Phase::prepare;
  return can_have(role, Fault::flip) && (phase == Phase::forward || phase == Phase::backward);
}

Failpoint parse_failpoint(Fault fault, std::string_view text) {
  Failpoint f{.fault = fault};
  const size_t at = text.find('@');
  if (at == std::string_view::npos) refuse(text, "has no '@STEP'");
  const std::string_view who = text.substr(0, at);
  std::string_view when = text.substr(at + 1);
  const size_t slash = who.find('/');
  const auto role = role_of(who.substr(0, slash));
  if (!role) {
    std::string list;
    for (int i = 0; i < roles; ++i) {
      list += (i == 0 ? "" : ", ") + std::string(to_string(static_cast<Role>(i)));
    }
    refuse(text, "found role '" + std::string(who.substr(0, slash)) + "', wanted one of " + list);
  }
  f.role = *role;
  if (slash != std::string_view::npos) f.index = number_of<int>(who.substr(slash + 1), text, "INDEX");
  const size_t colon = when.find(':');
  if (colon == std::string_view::npos) refuse(text, "has no ':PHASE'");
  f.step = number_of<uint64_t>(when.substr(0, colon), text, "STEP");
  if (f.step == 0) refuse(text, "STEP is 0, steps count from 1");
  std::string_view phase = when.substr(colon + 1);
  if (const size_t plus = phase.find('+'); plus != std::string_view::npos && has_delay(fault)) {
    f.delay = std::chrono::milliseconds(number_of<int>(phase.substr(plus + 1), text, "the delay"));
    phase = phase.substr(0, plus);
  }
  if (const size_t hash = phase.find('#'); hash != std::string_view::npos) {
    f.occurrence = std::max(1, number_of<int>(phase.substr(hash + 1), text, "K"));
    phase = phase.substr(0, hash);
  }
  f.phase = phase_of(phase, f.role, text);
  if (fault == Fault::flip && !can_flip(f.role, f.phase)) {
    refuse(text, std::string(to_string(f.role)) + " has nothing to flip at " + to_string(f.phase));
  }
  if (!can_have(f.role, fault)) {
    if (fault == Fault::hang) {
      refuse(text, std::string(to_string(f.role)) + " waits for disks, so nobody can tell that it hangs");
    }
    if (fault == Fault::disk) refuse(text, std::string(to_string(f.role)) + " waits for no disk");
    if (is_of_surroundings(fault)) {
      refuse(text, "crew/P stands for the host of process P, " + std::string(to_string(f.role)) + " for none");
    }
    refuse(text, std::string(to_string(f.role)) + " answers by no lane, so nothing of it can be " +
                     (fault == Fault::drop ? "dropped" : "delayed"));
  }
  return f;
}

std::string to_string(const Failpoint& f) {
  std::string text = std::string(to_string(f.fault)) + " " + to_string(f.role) + "/" +
                     std::to_string(f.index) + "@" + std::to_string(f.step) + ":" +
                     to_string(f.phase);
  if (f.occurrence > 1) text += "#" + std::to_string(f.occurrence);
  if (has_delay(f.fault)) text += "+" + std::to_string(f.delay.count());
  return text;
}

Failpoint failpoint_of(std::string_view witness) {
  const size_t space = witness.find(' ');
  for (int i = 0; i < faults; ++i) {
    const auto fault = static_cast<Fault>(i);
    if (witness.substr(0, space) == to_string(fault)) {
      return parse_failpoint(fault, witness.substr(space + 1));
    }
  }
  refuse(witness, "does not begin with kill, fail, drop, delay, flip, crash, segfault, exit, freeze, hang, oom, disk, link or oneway");
}

std::vector<Failpoint> random_failpoints(const RandomFailpointsArgs& args) {
  std::vector<Role> present;
  for (size_t role = 0; role < args.counts.size(); ++role) {
    if (args.counts[role] > 0) present.push_back(static_cast<Role>(role));
  }
  std::vector<Failpoint> chosen;
  std::set<std::string> known;
  const int most_draws = present.empty() ? 0 : 100 * args.count;
  for (int i = 0; i < most_draws && chosen.size() < static_cast<size_t>(args.count); ++i) {
    uint64_t draw = 0;
    const auto pick = [&](uint64_t n) {
      return kernels::random_below({.seed = args.seed, .purpose = kernels::Purpose::failpoints,
                                    .stream = static_cast<uint32_t>(i), .position = draw++}, n);
    };
    Failpoint f;
    f.role = present[pick(present.size())];
    f.index = static_cast<int>(pick(static_cast<uint64_t>(args.counts[static_cast<size_t>(f.role)])));
    f.step = 1 + pick(args.steps);
    const auto phases = phases_of(f.role);
    f.phase = phases[pick(phases.size())];
    if (is_at_checkpoint(f)) {
      f.step = checkpoint_step(f.step, args);
    }
    const Fault fault = args.kinds.size() > 1 ? args.kinds[pick(args.kinds.size())] : args.kinds[0];
    if (can_have(f.role, fault)) f.fault = fault;
    if (shows_by_its_time(f.fault) && f.step == 1) continue;
    f.delay = std::chrono::milliseconds(1 + pick(20));
    if (known.insert(to_string(f)).second) chosen.push_back(f);
  }
  return chosen;
}

void Failpoints::set(std::vector<Failpoint> failpoints, const std::vector<std::string>& fired) {
  std::lock_guard lock(mutex_);
  armed_.clear();
  for (const Failpoint& failpoint : failpoints) {
    const bool has_fired = std::find(fired.begin(), fired.end(), to_string(failpoint)) != fired.end();
    armed_.push_back({failpoint, 0, has_fired});
  }
  is_empty_ = armed_.empty();
}

void Failpoints::fired(const std::string& witness) {
  std::lock_guard lock(mutex_);
  for (Armed& armed : armed_) {
    if (to_string(armed.failpoint) == witness) armed.has_fired = true;
  }
}

std::vector<std::string> Failpoints::unfired() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> texts;
  for (const Armed& armed : armed_) {
    if (!armed.has_fired) texts.push_back(to_string(armed.failpoint));
  }
  return texts;
}

std::optional<Failpoint> Failpoints::reached(const Place& place) {
  if (is_empty_) return std::nullopt;
  std::lock_guard lock(mutex_);
  std::optional<Failpoint> firing;
  for (Armed& armed : armed_) {
    const Failpoint& f = armed.failpoint;
    const bool is_then = f.step == place.step || (is_at_checkpoint(f) && f.step < place.step);
    const bool is_here = f.role == place.role && f.index == place.index && is_then &&
                         f.phase == place.phase;
    if (!is_here || armed.has_fired || ++armed.times < f.occurrence || firing) continue;
    armed.has_fired = true;
    firing = f;
  }
  return firing;
}

}  // namespace troupe::actors
