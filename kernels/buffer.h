// Memory for tensors. Freed buffers are kept by size for the next taker, so that a step does not
// pay for page faults again: in use and kept together, an eighth more than was in use at once of late.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>

#include "kernels/tensor.h"

namespace troupe::kernels {

/// A tensor together with its memory, 64-byte aligned, not initialised. Copies share the memory:
/// a buffer lives until the last operation and the last message that hold it are gone.
struct Buffer {
  Tensor view;
  std::shared_ptr<void> memory;

  operator Tensor() const { return view; }
  operator ConstTensor() const { return view; }
  explicit operator bool() const { return memory != nullptr; }
};

/// Throws std::bad_alloc when the machine has no memory, KernelError on a negative size.
Buffer allocate(DType dtype, std::initializer_list<int64_t> shape);
inline Buffer allocate_f32(std::initializer_list<int64_t> shape) {
  return allocate(DType::f32, shape);
}
/// In the memory of `device`. Freed buffers of the GPU and pinned ones are all kept: to give them
/// back would stop the GPU. Throws KernelError where there is no GPU.
Buffer allocate(Device device, DType dtype, std::initializer_list<int64_t> shape);
/// Memory of the host that the GPU reaches too, if this process has opened one: else plain memory.
Buffer allocate_shared(DType dtype, std::initializer_list<int64_t> shape);
Buffer allocate_zeros(DType dtype, std::initializer_list<int64_t> shape);
/// Zeros as well, in pages that the machine provides when they are first written: what is never
/// written takes no memory. Not kept when it is freed.
Buffer allocate_sparse_zeros(DType dtype, std::initializer_list<int64_t> shape);

struct BufferUse {
  int64_t live_bytes;  ///< in buffers
  int64_t peak_bytes;  ///< the most of them since the process began
  int64_t kept_bytes;  ///< of freed ones, for those to come
};
BufferUse buffer_use();
BufferUse buffer_use(Device device);

/// From now on the peak is that of the live bytes from now on.
void forget_peak();

/// Gives kept memory back to the system.
void release_kept_buffers();

/// Copies the elements of one contiguous tensor to another of as many bytes, wherever they are, and
/// waits for it. On no queue: what writes them must have ended.
void copy_now(const ConstTensor& from, const Tensor& to);
/// Zeroes a contiguous tensor, likewise.
void zero_now(const Tensor& tensor);
/// The tensor where the host reads it: itself, or a copy of what the GPU has. As copy_now.
Buffer on_host(const ConstTensor& tensor);

}  // namespace troupe::kernels
