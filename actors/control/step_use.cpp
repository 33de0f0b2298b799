#include "actors/control/step_use.h"

#include <utility>

namespace troupe::actors {

void StepUse::hear(const wire::Applied& applied) {
  for (const wire::ProcessWork& one : applied.work()) work_[one.process()] = one;
  for (const wire::WireUse& one : applied.wire()) {
    wire_.set_wire_bytes(wire_.wire_bytes() + one.wire_bytes());
    wire_.set_copied_bytes(wire_.copied_bytes() + one.copied_bytes());
    wire_.set_parcels(wire_.parcels() + one.parcels());
  }
}

void StepUse::add_to(wire::StepDone& done, bool has_others) {
  const bool counts_anew = !std::exchange(is_told_, true) || wire_.wire_bytes() < told_.wire_bytes() ||
                           wire_.parcels() < told_.parcels();
  const wire::WireUse use = since_last_step();
  if (has_others && !counts_anew) *done.mutable_wire() = use;
  add_work(done);
}

/// What all processes have sent since the step before was announced.
wire::WireUse StepUse::since_last_step() {
  const wire::WireUse before = std::exchange(told_, wire_);
  wire::WireUse use;
  use.set_wire_bytes(wire_.wire_bytes() - before.wire_bytes());
  use.set_copied_bytes(wire_.copied_bytes() - before.copied_bytes());
  use.set_parcels(wire_.parcels() - before.parcels());
  use.set_minimum_bytes(static_cast<uint64_t>(minimum_));
  return use;
}

void StepUse::add_work(wire::StepDone& done) {
  const std::map<int, wire::ProcessWork> before = std::exchange(told_work_, work_);
  for (const auto& [process, now] : work_) {
    const auto found = before.find(process);
    if (found == before.end() || now.busy_seconds() <= found->second.busy_seconds() ||
        now.unit_seconds() < found->second.unit_seconds()) {
      continue;
    }
    wire::ProcessWork& work = *done.add_work();
    work.set_process(process);
    work.set_busy_seconds(now.busy_seconds() - found->second.busy_seconds());
    work.set_unit_seconds(now.unit_seconds() - found->second.unit_seconds());
  }
}

}  // namespace troupe::actors
