#include "deploy/chaos/fault_plan.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include "kernels/random.h"

namespace troupe::deploy {
namespace {

using actors::Failpoint;
using actors::FailpointError;
using actors::Fault;
using actors::Phase;
using actors::Role;

/// Numbers below n, one behind the other.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  uint64_t below(uint64_t n) {
    return kernels::random_below({.seed = seed_, .purpose = kernels::Purpose::failpoints,
                                  .stream = 1, .position = position_++}, n);
  }

 private:
  const uint64_t seed_;
  uint64_t position_ = 0;
};

/// An evaluator has its own steps, which a plan does not know.
std::vector<Failpoint> combinations(const FaultPlanArgs& args) {
  std::vector<Failpoint> all;
  for (const Fault kind : args.kinds) {
    for (size_t role = 0; role < args.counts.size(); ++role) {
      const auto who = static_cast<Role>(role);
      if (args.counts[role] == 0 || who == Role::evaluator || !actors::can_have(who, kind)) continue;
      for (const Phase phase : actors::phases_of(who)) {
        if (kind == Fault::flip && !actors::can_flip(who, phase)) continue;
        all.push_back({.fault = kind, .role = who, .phase = phase});
      }
    }
  }
  return all;
}

}  // namespace

std::vector<Failpoint> fault_plan(const FaultPlanArgs& args) {
  Draws draws(args.seed);
  std::vector<Failpoint> plan, open;
  const std::vector<Failpoint> all = combinations(args);
  for (int i = 1; i <= args.count && !all.empty(); ++i) {
    const uint64_t step = args.every * static_cast<uint64_t>(i);
    const bool has_checkpoint = args.checkpoint_every > 0 && step % args.checkpoint_every == 0;
    const auto fits = [&](const Failpoint& f) {
      return (has_checkpoint || !is_at_checkpoint(f)) && (step > 1 || !actors::shows_by_its_time(f.fault));
    };
    if (std::none_of(open.begin(), open.end(), fits)) {
      std::vector<Failpoint> more = all;
      for (size_t n = more.size(); n > 1; --n) std::swap(more[n - 1], more[draws.below(n)]);
      open.insert(open.end(), more.begin(), more.end());
    }
    const auto next = std::find_if(open.begin(), open.end(), fits);
    if (next == open.end()) continue;
    Failpoint f = *next;
    open.erase(next);
    f.step = step;
    f.index = static_cast<int>(
        draws.below(static_cast<uint64_t>(args.counts[static_cast<size_t>(f.role)])));
    // The host of process 0 keeps its cable: without a lease of etcd the run ends with it.
    const bool is_of_cable = f.fault == Fault::link || f.fault == Fault::oneway;
    if (is_of_cable && f.index == 0) f.index = 1;
    f.delay = std::chrono::milliseconds(1 + draws.below(20)) * (is_of_surroundings(f.fault) ? 100 : 1);
    plan.push_back(f);
  }
  return plan;
}

std::vector<Failpoint> read_fault_plan(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw FailpointError("cannot read the fault plan " + file.string());
  std::vector<Failpoint> plan;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    // A '#' within a word counts occurrences: commit#2.
    for (size_t at = line.find('#'); at != std::string::npos; at = line.find('#', at + 1)) {
      if (at == 0 || line[at - 1] == ' ') line.erase(at);
    }
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty()) continue;
    try {
      plan.push_back(actors::failpoint_of(line));
    } catch (const FailpointError& error) {
      throw FailpointError(file.string() + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  if (plan.empty()) throw FailpointError(file.string() + " holds no failpoint");
  return plan;
}

std::vector<Fault> fault_kinds(const std::vector<std::string>& names) {
  std::vector<Fault> kinds;
  std::string list;
  for (int i = 0; i < actors::faults; ++i) {
    list += (i == 0 ? "" : ", ") + std::string(to_string(static_cast<Fault>(i)));
  }
  for (const std::string& name : names) {
    int i = 0;
    while (i < actors::faults && name != to_string(static_cast<Fault>(i))) ++i;
    if (i == actors::faults) {
      throw FailpointError("found the kind of failure '" + name + "', wanted one of " + list);
    }
    kinds.push_back(static_cast<Fault>(i));
  }
  return kinds;
}

}  // namespace troupe::deploy
