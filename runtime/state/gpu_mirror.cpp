#include "runtime/state/gpu_mirror.h"

#include <new>

#include "runtime/state/arena.h"

namespace troupe::runtime {

using kernels::Buffer;
using kernels::ConstTensor;
using kernels::Device;
using kernels::DType;
using kernels::Tensor;

namespace {

/// Elements of a block.
Tensor part_of(const Tensor& all, const Block& block) {
  Tensor part = all;
  part.data = kernels::values<int64_t>(all) + block.first;
  part.rank = 1;
  part.shape = {block.count};
  part.row_stride = block.count;
  return part;
}

Buffer shaped_as(const ConstTensor& t, DType dtype) {
  Buffer buffer = kernels::allocate(Device::cuda, dtype, {t.count()});
  buffer.view.rank = t.rank;
  buffer.view.shape = t.shape;
  buffer.view.row_stride = t.cols();
  return buffer;
}

}  // namespace

GpuMirror::GpuMirror(const StateArena& arena)
    : arena_(arena),
      tensors_(static_cast<size_t>(arena.tensors())),
      faults_memory_(kernels::allocate(Device::shared, DType::i32, {1})),
      faults_(new (faults_memory_.view.data) std::atomic<uint32_t>(0)) {}

ConstTensor GpuMirror::weight(int tensor, uint64_t state, const UnitEpoch& attempt,
                              bool reads_ema) {
  const ConstTensor host = reads_ema ? arena_.ema(tensor, state) : arena_.weight(tensor, state);
  Mirrored& mirrored = tensors_[static_cast<size_t>(tensor)];
  std::lock_guard lock(mirrored.mutex);
  Weights& mine = mirrored.weights[reads_ema];
  if (mine.values && mine.state == state && mine.attempt == attempt) return mine.values;
  if (!mine.values) mine.values = shaped_as(host, DType::f32);
  kernels::copy_now(host, mine.values);
  mine.state = state;
  mine.attempt = attempt;
  return mine.values;
}

kernels::GradientSum GpuMirror::gradient(int tensor, int scale_bits, int64_t units) {
  Mirrored& mirrored = tensors_[static_cast<size_t>(tensor)];
  std::lock_guard lock(mirrored.mutex);
  if (!mirrored.gradient) {
    const ConstTensor host = arena_.weight(tensor, 0);
    mirrored.gradient = shaped_as(host, DType::i64);
    kernels::zero_now(mirrored.gradient);
    // Not one is taken: that they are there says that several queues add to the sum.
    mirrored.locks = std::make_unique<kernels::FixedPointLocks>(0);
  }
  return {.sum = mirrored.gradient,
          .scale_bits = scale_bits,
          .units = units,
          .faults = faults_,
          .locks = mirrored.locks.get()};
}

void GpuMirror::clear(const Block& block) {
  Mirrored& mirrored = tensors_[static_cast<size_t>(block.tensor)];
  std::lock_guard lock(mirrored.mutex);
  if (mirrored.gradient) kernels::zero_now(part_of(mirrored.gradient, block));
}

void GpuMirror::fetch(const Block& block, const Tensor& to) {
  Mirrored& mirrored = tensors_[static_cast<size_t>(block.tensor)];
  std::lock_guard lock(mirrored.mutex);
  if (mirrored.gradient) kernels::copy_now(part_of(mirrored.gradient, block), to);
}

}  // namespace troupe::runtime
