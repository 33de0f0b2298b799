// What nodes say of themselves when they come to a leader, and what it makes of that.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <span>
#include <string>

#include "runtime/proto/cluster.pb.h"

namespace troupe::deploy {

/// The median of what nodes of the run say that a step takes; `facts` are of all processes but the first. 0: nobody
/// has seen one.
std::chrono::milliseconds usual_step_of(std::span<const wire::NodeFacts> facts, const std::string& run);

/// Whether a node still holds what a run goes on with whose last commit is that: it has applied it, or, with its
/// actors, prepared just that. Who was cut off meanwhile may have prepared another attempt of that step.
bool is_at(const wire::NodeFacts& facts, const wire::StepRecord& last);

/// What a node holds, if it stands still with the state that the run goes on from, else nothing.
wire::HeldPart held_by(const wire::NodeFacts& facts, uint64_t state);

/// Whether that node is, or last was, one of these of so many processes.
bool is_among(const wire::HeldPart& part, int processes, const std::set<int>& numbers);

}  // namespace troupe::deploy
