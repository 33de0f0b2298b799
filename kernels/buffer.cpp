#include "kernels/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace troupe::kernels {
namespace {

constexpr size_t alignment = 64;

/// Size classes: eighths of a power of two, so that at most an eighth is wasted.
size_t size_class(size_t bytes) {
  bytes = std::max<size_t>(bytes, alignment);
  const size_t step = std::max<size_t>(alignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

class Pool {
 public:
  void* take(size_t bytes) {
    if (void* memory = take_kept(bytes)) return memory;
    void* memory = std::aligned_alloc(alignment, bytes);
    if (memory == nullptr) {  // what is kept for other sizes may be what is missing
      release();
      memory = std::aligned_alloc(alignment, bytes);
    }
    if (memory == nullptr) throw std::bad_alloc();
    std::lock_guard lock(mutex_);
    count(bytes);
    return memory;
  }

  void give(void* memory, size_t bytes) {
    std::lock_guard lock(mutex_);
    live_ -= static_cast<int64_t>(bytes);
    kept_[bytes].push_back(memory);
  }

  /// Memory that does not come from here, for the count of what is in use.
  void lent(size_t bytes) {
    std::lock_guard lock(mutex_);
    count(bytes);
  }
  void ended(size_t bytes) {
    std::lock_guard lock(mutex_);
    live_ -= static_cast<int64_t>(bytes);
  }

  void release() {
    std::lock_guard lock(mutex_);
    for (auto& [bytes, kept] : kept_) {
      for (void* memory : kept) std::free(memory);
      kept.clear();
    }
  }

  BufferUse use() {
    std::lock_guard lock(mutex_);
    return {live_, peak_};
  }

  void forget_peak() {
    std::lock_guard lock(mutex_);
    peak_ = live_;
  }

 private:
  void* take_kept(size_t bytes) {
    std::lock_guard lock(mutex_);
    const auto found = kept_.find(bytes);
    if (found == kept_.end() || found->second.empty()) return nullptr;
    void* memory = found->second.back();
    found->second.pop_back();
    count(bytes);
    return memory;
  }

  void count(size_t bytes) {
    live_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, live_);
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> kept_;
  int64_t live_ = 0;
  int64_t peak_ = 0;
};

/// Never destroyed: buffers may outlive static destruction.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

namespace {

/// A buffer without memory.
Buffer shaped(DType dtype, std::initializer_list<int64_t> shape) {
  Buffer buffer;
  buffer.view.dtype = dtype;
  if (shape.size() > buffer.view.shape.size()) {
    throw KernelError("a buffer of " + std::to_string(shape.size()) +
                      " dimensions, wanted 4 at most");
  }
  int64_t total = size_of(dtype);
  for (int64_t n : shape) {
    if (n < 0) throw KernelError("a buffer with a dimension of " + std::to_string(n));
    buffer.view.shape[static_cast<size_t>(buffer.view.rank++)] = n;
    if (__builtin_mul_overflow(total, n, &total) || total > int64_t{1} << 60) {
      throw KernelError("a buffer " + describe(buffer.view) +
                        " is too large, wanted 2^60 bytes at most");
    }
  }
  buffer.view.row_stride = buffer.view.cols();
  return buffer;
}

size_t bytes_of(const Buffer& buffer) {
  return static_cast<size_t>(buffer.view.count() * size_of(buffer.view.dtype));
}

}  // namespace

Buffer allocate(DType dtype, std::initializer_list<int64_t> shape) {
  Buffer buffer = shaped(dtype, shape);
  const size_t bytes = size_class(bytes_of(buffer));
  void* memory = pool().take(bytes);
  buffer.memory = std::shared_ptr<void>(memory, [bytes](void* p) { pool().give(p, bytes); });
  buffer.view.data = memory;
  return buffer;
}

Buffer allocate_sparse_zeros(DType dtype, std::initializer_list<int64_t> shape) {
  Buffer buffer = shaped(dtype, shape);
  const size_t bytes = std::max(bytes_of(buffer), alignment);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  pool().lent(bytes);
  buffer.memory = std::shared_ptr<void>(memory, [bytes](void* p) {
    munmap(p, bytes);
    pool().ended(bytes);
  });
  buffer.view.data = memory;
  return buffer;
}

Buffer allocate_zeros(DType dtype, std::initializer_list<int64_t> shape) {
  Buffer buffer = allocate(dtype, shape);
  std::memset(buffer.view.data, 0, bytes_of(buffer));
  return buffer;
}

BufferUse buffer_use() { return pool().use(); }

void forget_peak() { pool().forget_peak(); }

void release_kept_buffers() { pool().release(); }

}  // namespace troupe::kernels
