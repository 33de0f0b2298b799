// Units of a step for tests, with hashes 100, 101, ... in their order.
#pragma once

#include <vector>

#include "runtime/proto/units.pb.h"

namespace troupe::tests {

inline wire::UnitHash unit(wire::UnitHash::Kind kind, uint32_t tensor, uint32_t part) {
  wire::UnitHash unit;
  unit.set_kind(kind);
  unit.set_tensor(tensor);
  unit.set_part(part);
  return unit;
}

inline wire::UnitHash weights(uint32_t tensor, uint32_t block) {
  return unit(wire::UnitHash::WEIGHTS, tensor, block);
}
inline wire::UnitHash gradient_sum(uint32_t tensor, uint32_t block) {
  return unit(wire::UnitHash::GRADIENT_SUM, tensor, block);
}
inline wire::UnitHash gradient(uint32_t tensor, uint32_t micro_batch, uint32_t site) {
  wire::UnitHash out = unit(wire::UnitHash::GRADIENT, tensor, site);
  out.set_micro_batch(micro_batch);
  return out;
}
inline wire::UnitHash message(wire::UnitHash::Kind kind, uint32_t micro_batch, int layer,
                              wire::UnitHash::Edge edge, uint32_t expert = 0) {
  wire::UnitHash out = unit(kind, 0, expert);
  out.set_micro_batch(micro_batch);
  out.set_layer(layer);
  out.set_edge(edge);
  return out;
}

inline wire::StepUnits step_of(uint64_t number, const std::vector<wire::UnitHash>& units) {
  wire::StepUnits step;
  step.set_format(1);
  step.set_step(number);
  step.add_tensors("first.weight");
  step.add_tensors("second.weight");
  for (const auto& each : units) {
    *step.add_units() = each;
    step.mutable_units()->rbegin()->set_hash(static_cast<uint64_t>(99 + step.units_size()));
  }
  return step;
}

}  // namespace troupe::tests
