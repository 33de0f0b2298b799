#include "runtime/state/unit_recorder.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "kernels/buffer.h"
#include "runtime/state/unit_file.h"

namespace troupe::runtime {
namespace {

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

void update(XXH3_state_t* state, const kernels::ConstTensor& t) {
  const auto element = static_cast<size_t>(kernels::size_of(t.dtype));
  const auto* bytes = static_cast<const char*>(t.data);
  const auto cols = static_cast<size_t>(t.cols()), rows = static_cast<size_t>(t.rows());
  if (t.count() == 0) return;
  if (t.is_contiguous()) {
    XXH3_64bits_update(state, bytes, rows * cols * element);
    return;
  }
  for (size_t row = 0; row < rows; ++row) {
    XXH3_64bits_update(state, bytes + row * static_cast<size_t>(t.row_stride) * element,
                       cols * element);
  }
}

}  // namespace

UnitEpoch unit_epoch(const wire::Epoch& epoch, uint64_t step) {
  return {epoch.term(), epoch.n(), step};
}

void UnitRecorder::record(const UnitEpoch& epoch, wire::UnitHash unit,
                          std::initializer_list<kernels::ConstTensor> payload) {
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  XXH3_64bits_reset(state.get());
  for (const kernels::ConstTensor& tensor : payload) {
    const kernels::Buffer host = kernels::on_host(tensor);
    if (listener) listener(unit, host);
    update(state.get(), host);
  }
  record(epoch, std::move(unit), XXH3_64bits_digest(state.get()));
}

void UnitRecorder::record(const UnitEpoch& epoch, wire::UnitHash unit, uint64_t hash) {
  unit.set_hash(hash);
  std::lock_guard lock(mutex_);
  if (epoch <= committed_) return;  // of an attempt that is over
  open_[epoch].push_back(std::move(unit));
}

/// Between stages a unit may come twice; with two hashes it would show as its second one.
wire::StepUnits UnitRecorder::sorted(uint64_t step, Units units) const {
  std::stable_sort(units.begin(), units.end(), is_before);
  wire::StepUnits out;
  out.set_format(1);
  out.set_step(step);
  for (const std::string& name : tensors_) out.add_tensors(name);
  for (size_t i = 0; i < units.size(); ++i) {
    if (i + 1 < units.size() && !is_before(units[i], units[i + 1])) continue;
    *out.add_units() = std::move(units[i]);
  }
  return out;
}

void UnitRecorder::commit(const UnitEpoch& epoch) {
  std::lock_guard lock(mutex_);
  if (epoch <= committed_ || epoch.step <= committed_.step) return;
  committed_ = epoch;
  steps_.emplace_back(epoch.step, std::move(open_[epoch]));
  open_.erase(open_.begin(), open_.upper_bound(epoch));
}

std::optional<wire::StepUnits> UnitRecorder::oldest() const {
  std::unique_lock lock(mutex_);
  if (steps_.empty()) return std::nullopt;
  auto [step, units] = steps_.front();
  lock.unlock();
  return sorted(step, std::move(units));
}

void UnitRecorder::drop(uint64_t step) {
  std::lock_guard lock(mutex_);
  while (!steps_.empty() && steps_.front().first <= step) steps_.pop_front();
}

wire::StepUnits UnitRecorder::newest() const {
  std::lock_guard lock(mutex_);
  if (!open_.empty()) return sorted(open_.rbegin()->first.step, open_.rbegin()->second);
  return steps_.empty() ? wire::StepUnits() : sorted(steps_.back().first, steps_.back().second);
}

}  // namespace troupe::runtime
