#include "deploy/cluster/lead/node_claims.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "deploy/bench/median.h"

namespace troupe::deploy {
namespace {

bool is_a_nodes(const wire::HeldPart& part) { return part.process() > 0 && part.process() < part.processes(); }

}  // namespace

std::chrono::milliseconds usual_step_of(std::span<const wire::NodeFacts> facts, const std::string& run) {
  const auto processes = static_cast<int64_t>(facts.size()) + 1;
  std::vector<double> said;
  for (const wire::NodeFacts& one : facts) {
    if (one.usual_step_ms() <= 0 || one.held_run() != run) continue;
    // Of more processes than there are now: each has more to do.
    const int64_t more_work = std::max<int64_t>(1, (one.held_processes() + processes - 1) / processes);
    said.push_back(static_cast<double>(more_work * one.usual_step_ms()));
  }
  return std::chrono::milliseconds(static_cast<int64_t>(median(std::move(said))));
}

bool is_at(const wire::NodeFacts& facts, const wire::StepRecord& last) {
  if (facts.held_state() >= last.step()) return true;
  if (facts.is_at_rest()) return false;
  const wire::Epoch& prepared = facts.held_prepared_epoch();
  return facts.held_state() + 1 == last.step() && facts.held_prepared_step() == last.step() &&
         prepared.term() == last.epoch().term() && prepared.n() == last.epoch().n();
}

wire::HeldPart held_by(const wire::NodeFacts& facts, uint64_t state) {
  wire::HeldPart part;
  part.set_process(facts.held_process());
  part.set_processes(facts.held_processes());
  part.set_buddy_stride(facts.held_buddy_stride());
  if (!facts.is_at_rest() || facts.held_state() != state || !is_a_nodes(part)) return {};
  for (const wire::HeldPart& other : facts.also_held()) {
    if (is_a_nodes(other) && other.also().empty()) *part.add_also() = other;
  }
  return part;
}

bool is_among(const wire::HeldPart& part, int processes, const std::set<int>& numbers) {
  if (part.processes() == processes) return numbers.contains(part.process());
  const auto is_of_as_many = [&](const wire::HeldPart& one) { return one.processes() == processes; };
  const auto last = std::find_if(part.also().rbegin(), part.also().rend(), is_of_as_many);
  return last != part.also().rend() && numbers.contains(last->process());
}

}  // namespace troupe::deploy
