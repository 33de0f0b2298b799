// The fixed-point sums of a mirror: what units of a step are added to.
#include <utility>

#include "kernels/ops/permute.h"
#include "runtime/state/arena.h"
#include "runtime/state/elements.h"
#include "runtime/state/gpu_mirror.h"

namespace troupe::runtime {

using kernels::Tensor;

const void* GpuMirror::allocation_of_sums(int tensor) {
  std::lock_guard lock(of(tensor).mutex);
  return of(tensor).gradient.memory.get();
}

void GpuMirror::share_sums(bool are_shared) {
  are_shared_ = are_shared;
  for (Mirrored& mine : tensors_) {
    std::lock_guard lock(mine.mutex);
    if (std::exchange(mine.awaits_first, false)) kernels::zero_now(mine.gradient);
  }
}

kernels::GradientSum GpuMirror::gradient(int tensor, int scale_bits, int64_t units) {
  Mirrored& mine = of(tensor);
  std::lock_guard lock(mine.mutex);
  make_gradient(tensor);
  return {.sum = mine.gradient,
          .scale_bits = scale_bits,
          .units = units,
          .faults = faults_,
          .locks = are_shared_ ? mine.locks.get() : nullptr,
          .is_first = std::exchange(mine.awaits_first, false)};
}

void GpuMirror::clear(const Block& block) {
  Mirrored& mine = of(block.tensor);
  std::lock_guard lock(mine.mutex);
  if (mine.gradient) kernels::zero_now(runtime::elements(mine.gradient, block.first, block.count));
}

void GpuMirror::clear(kernels::Queue& queue, const BlockRange& range) {
  Mirrored& mine = of(range.tensor);
  std::lock_guard lock(mine.mutex);
  if (!mine.gradient) return;
  mine.awaits_first = !are_shared_ && range.blocks == mine.blocks;
  if (mine.awaits_first) return;
  kernels::set_zero(queue, {.y = runtime::elements(mine.gradient, range.first, range.count)});
}

Tensor GpuMirror::gradient_of(kernels::Queue& queue, const BlockRange& range) {
  Mirrored& mine = of(range.tensor);
  std::lock_guard lock(mine.mutex);
  make_gradient(range.tensor);
  if (std::exchange(mine.awaits_first, false)) kernels::set_zero(queue, {.y = mine.gradient});
  return runtime::elements(mine.gradient, range.first, range.count);
}

void GpuMirror::fetch(const Block& block, const Tensor& to) {
  Mirrored& mine = of(block.tensor);
  std::lock_guard lock(mine.mutex);
  if (mine.gradient) {
    kernels::copy_now(runtime::elements(mine.gradient, block.first, block.count), to);
  } else {
    kernels::zero_now(to);  // no unit has had any of it here
  }
}

}  // namespace troupe::runtime
