// Hashes of a step's units while it is computed: by epoch, of which the committed one stays
// (law 3).
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/tensor.h"
#include "runtime/proto/step.pb.h"
#include "runtime/proto/units.pb.h"

namespace troupe::runtime {

/// The attempt at a step that a unit belongs to.
struct UnitEpoch {
  uint64_t term = 0, n = 0, step = 0;
  auto operator<=>(const UnitEpoch&) const = default;
};
UnitEpoch unit_epoch(const wire::Epoch& epoch, uint64_t step);

/// Takes units on any thread. Nothing of an abandoned epoch outlives the commit of a later one.
class UnitRecorder {
 public:
  /// `tensors` are names; units refer to them by index.
  explicit UnitRecorder(std::vector<std::string> tensors) : tensors_(std::move(tensors)) {}

  /// Hashes the payload, tensor after tensor, as the unit that `unit` names. A unit that comes
  /// again is the same work done twice, and counts once.
  void record(const UnitEpoch& epoch, wire::UnitHash unit,
              std::initializer_list<kernels::ConstTensor> payload);
  /// The same with a hash that is there.
  void record(const UnitEpoch& epoch, wire::UnitHash unit, uint64_t hash);

  /// This attempt is the step. Told again of a step, it does nothing.
  void commit(const UnitEpoch& epoch);

  /// The oldest committed step that has not been dropped; nothing: there is none. Sorts it.
  std::optional<wire::StepUnits> oldest() const;
  void drop(uint64_t step);
  /// What the newest attempt has come to, committed or not.
  wire::StepUnits newest() const;

  /// Is handed every payload before it is hashed. For tests: it may flip a bit of it.
  std::function<void(const wire::UnitHash&, const kernels::ConstTensor&)> listener;

 private:
  using Units = std::vector<wire::UnitHash>;
  wire::StepUnits sorted(uint64_t step, Units units) const;

  const std::vector<std::string> tensors_;
  mutable std::mutex mutex_;
  std::map<UnitEpoch, Units> open_;
  UnitEpoch committed_;  // the last one; what is older is over
  std::deque<std::pair<uint64_t, Units>> steps_;  // committed ones
};

}  // namespace troupe::runtime
