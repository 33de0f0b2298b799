// How layers hand over what they compute: scratch memory that lives until the queue has passed,
// and unit gradients into fixed-point sums.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>

#include "kernels/buffer.h"
#include "kernels/ops/fixed_point.h"
#include "kernels/ops/permute.h"
#include "kernels/queue.h"

namespace troupe::kernels {

/// Memory of operations under way. Whoever enqueues keeps it until the queue has passed them.
class Scratch {
 public:
  /// For queues on `device`.
  Scratch() = default;
  explicit Scratch(Device device) : device_(device) {}

  Tensor f32(std::initializer_list<int64_t> shape) { return of(DType::f32, shape); }
  /// Where the queue computes.
  Tensor of(DType dtype, std::initializer_list<int64_t> shape) {
    return keep(allocate(device_, dtype, shape));
  }
  /// Tables of integers: the host makes them or reads them.
  Tensor i32(std::initializer_list<int64_t> shape) { return shared(DType::i32, shape); }
  /// What the host reads or writes too.
  Tensor shared(DType dtype, std::initializer_list<int64_t> shape) {
    return keep(device_ == Device::cpu ? allocate(dtype, shape) : allocate_shared(dtype, shape));
  }
  Tensor keep(Buffer buffer) {
    kept_.push_back(std::move(buffer));
    return kept_.back().view;
  }
  void clear() { kept_.clear(); }
  bool is_empty() const { return kept_.empty(); }

  /// The memory that a tensor of this scratch is in, to share it beyond the scratch's life.
  std::shared_ptr<void> memory_of(const Tensor& tensor) const {
    const auto* const at = static_cast<const char*>(tensor.data);
    for (auto it = kept_.rbegin(); it != kept_.rend(); ++it) {
      const auto* const begin = static_cast<const char*>(it->view.data);
      const auto* const end = begin + it->view.count() * size_of(it->view.dtype);
      if (at >= begin && (at < end || tensor.count() == 0) && at <= end) return it->memory;
    }
    throw KernelError("a tensor " + describe(tensor) + " is not of this scratch");
  }

 private:
  Device device_ = Device::cpu;
  std::deque<Buffer> kept_;
};

/// Memory of operations that nobody reads afterwards: it goes when what has been enqueued until the
/// end of the scope has ended.
class PassingScratch {
 public:
  explicit PassingScratch(Queue& queue)
      : queue_(queue), scratch_(std::make_shared<Scratch>(queue.device())) {}
  ~PassingScratch() {
    if (scratch_->is_empty()) return;
    if (queue_.is_cuda()) {  // a callback would keep what is behind it from being launched
      queue_.launch([kept = std::move(scratch_)](const GpuLane&) {});
    } else {
      queue_.then([kept = std::move(scratch_)](std::exception_ptr) {});
    }
  }
  PassingScratch(const PassingScratch&) = delete;
  PassingScratch& operator=(const PassingScratch&) = delete;
  Scratch& operator*() { return *scratch_; }
  Scratch* operator->() { return scratch_.get(); }

 private:
  Queue& queue_;
  std::shared_ptr<Scratch> scratch_;
};

/// The fixed-point sum of one tensor's gradient in a step. `data` is empty for a tensor that is
/// not trained here: its gradient is then not computed.
struct GradientSum {
  Tensor sum;                             ///< i64, the tensor's shape
  int scale_bits = 0;                     ///< s
  int64_t units = 1;                      ///< U of the tensor in the step
  std::atomic<uint32_t>* faults = nullptr;
  FixedPointLocks* locks = nullptr;       ///< when several queues add to the sum at a time, or it was cleared
  bool is_first = false;                  ///< on the GPU: nothing is there yet, the unit is stored and not added
  /// Sees each unit, in the queue, before it becomes integers; empty: nobody does.
  std::function<void(const ConstTensor& unit)> watch = {};

  bool is_wanted() const { return sum.data != nullptr; }
};

/// Adds a unit's gradient, computed from zero in f32.
inline void add_unit(Queue& queue, const GradientSum& into, const ConstTensor& unit) {
  if (into.is_first) set_zero(queue, {.y = into.sum});
  if (into.watch) queue.run(1, [watch = into.watch, unit](int64_t) { watch(unit); });
  accumulate_unit(queue, {.unit = unit, .scale_bits = into.scale_bits, .units = into.units,
                          .sum = into.sum, .faults = into.faults, .locks = into.locks});
}

/// A unit that is zero everywhere, of rows that nobody has.
inline void add_empty_unit(Queue& queue, const GradientSum& into) {
  if (into.is_first) set_zero(queue, {.y = into.sum});
}

}  // namespace troupe::kernels
