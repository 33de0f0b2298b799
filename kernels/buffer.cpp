#include "kernels/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "kernels/cuda/device/device.h"

namespace troupe::kernels {
namespace {

constexpr size_t alignment = 64;

/// From here on memory comes in pages of its own, so that what is given back is free at once: what
/// malloc gets back stays in its heaps.
constexpr size_t least_mapped = 64 << 10;
constexpr size_t page = 4096;

/// Size classes: eighths of a power of two, so that at most an eighth is wasted.
size_t size_class(size_t bytes) {
  bytes = std::max<size_t>(bytes, alignment);
  const size_t least = bytes < least_mapped ? alignment : page;
  const size_t step = std::max<size_t>(least, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

void* fresh_pages(size_t bytes) {
  if (bytes < least_mapped) return std::aligned_alloc(alignment, bytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

/// The same pages with new ones behind them, or fewer: no page is faulted in twice.
void* resized_pages(void* memory, size_t bytes, size_t wanted) {
  void* moved = mremap(memory, bytes, wanted, MREMAP_MAYMOVE);
  if (moved != MAP_FAILED) return moved;
  munmap(memory, bytes);
  return nullptr;
}

void destroy_pages(void* memory, size_t bytes) {
  if (bytes < least_mapped) return std::free(memory);
  munmap(memory, bytes);
}

/// What a pool is made of.
struct Source {
  void* (*fresh)(size_t bytes);
  void* (*resized)(void* memory, size_t bytes, size_t wanted);  ///< null: memory keeps its size
  void (*destroy)(void* memory, size_t bytes);
};
constexpr Source host_pages{fresh_pages, resized_pages, destroy_pages};
constexpr Source gpu_memory{cuda::allocate_device, nullptr,
                            [](void* memory, size_t) { cuda::free_device(memory); }};
constexpr Source pinned_memory{cuda::allocate_pinned, nullptr,
                               [](void* memory, size_t) { cuda::free_pinned(memory); }};

/// The most of a number in recent times: since the last but one time that `turn` was called.
class RecentPeak {
 public:
  void see(int64_t value) { now_ = std::max(now_, value); }
  void turn(int64_t value) { before_ = std::exchange(now_, value); }
  int64_t value() const { return std::max(now_, before_); }

 private:
  int64_t now_ = 0, before_ = 0;
};

/// Memory in use and kept together stays within nine eighths of what was in use at most of late:
/// sizes that change from step to step (rows of experts) would otherwise each keep their own. With
/// a sixteenth the pages that come and go with them cost 3 % of a step, with an eighth nothing that
/// shows.
/// Memory that the driver gives is kept without a bound: to free it would stop the GPU.
class Pool {
 public:
  explicit Pool(const Source& source) : source_(source), is_bounded_(source.resized != nullptr) {}

  struct Taken {
    void* memory;
    size_t bytes;  ///< at least what was wanted
  };

  Taken take(size_t bytes) {
    std::unique_lock lock(mutex_);
    const auto found = kept_.lower_bound(bytes);
    if (found != kept_.end() && found->first <= bytes + bytes / 4) {
      const Taken taken = unkeep(found, Which::newest);
      took(taken.bytes);
      return taken;
    }
    took(bytes);  // before there is room for it, so that the bound is what is needed now
    const Taken old =
        is_full() && bytes >= least_mapped ? unkeep_nearest(bytes) : Taken{nullptr, 0};
    const std::vector<Taken> spare = excess();
    lock.unlock();
    for (const Taken& each : spare) source_.destroy(each.memory, each.bytes);
    void* memory =
        old.memory ? source_.resized(old.memory, old.bytes, bytes) : source_.fresh(bytes);
    if (memory == nullptr) {  // what is kept for other sizes may be what is missing
      release();
      memory = source_.fresh(bytes);
    }
    if (memory != nullptr) return {memory, bytes};
    lock.lock();
    taken_ -= static_cast<int64_t>(bytes);
    live_ -= static_cast<int64_t>(bytes);
    throw std::bad_alloc();
  }

  void give(const Taken& taken) {
    std::vector<Taken> spare;
    {
      std::lock_guard lock(mutex_);
      live_ -= static_cast<int64_t>(taken.bytes);
      taken_ -= static_cast<int64_t>(taken.bytes);
      kept_[taken.bytes].push_back({taken.memory, turn_++});
      kept_bytes_ += taken.bytes;
      spare = excess();
    }
    for (const Taken& each : spare) source_.destroy(each.memory, each.bytes);
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
      for (const Kept& each : kept) source_.destroy(each.memory, bytes);
    }
    kept_.clear();
    kept_bytes_ = 0;
  }

  BufferUse use() {
    std::lock_guard lock(mutex_);
    return {live_, peak_, static_cast<int64_t>(kept_bytes_)};
  }

  void forget_peak() {
    std::lock_guard lock(mutex_);
    peak_ = live_;
  }

 private:
  struct Kept {
    void* memory;
    uint64_t turn;  // when it was given back
  };

  void took(size_t bytes) {
    count(bytes);
    taken_ += static_cast<int64_t>(bytes);
    recent_.see(taken_);
    since_turn_ += static_cast<int64_t>(bytes);
    if (since_turn_ < 16 * recent_.value()) return;
    recent_.turn(taken_);
    since_turn_ = 0;
  }

  /// Whether there is more in use and kept than there may be.
  bool is_full() const {
    const int64_t most = recent_.value() + recent_.value() / 8;
    return is_bounded_ && kept_bytes_ > 0 && taken_ + static_cast<int64_t>(kept_bytes_) > most;
  }

  /// What is kept beyond the bound: first what has lain longest.
  std::vector<Taken> excess() {
    std::vector<Taken> spare;
    while (is_full()) {
      const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](auto& a, auto& b) {
        return a.second.front().turn < b.second.front().turn;
      });
      spare.push_back(unkeep(oldest, Which::oldest));
    }
    return spare;
  }

  enum class Which : uint8_t { newest, oldest };
  using BySize = std::map<size_t, std::deque<Kept>>;  // none is empty

  Taken unkeep(BySize::iterator at, Which which) {
    auto& [bytes, kept] = *at;
    const bool is_newest = which == Which::newest;
    const Taken taken{(is_newest ? kept.back() : kept.front()).memory, bytes};
    is_newest ? kept.pop_back() : kept.pop_front();
    kept_bytes_ -= taken.bytes;
    if (kept.empty()) kept_.erase(at);
    return taken;
  }

  /// Pages to make `bytes` of: as many as needed, or the most that there are. Kept must not be
  /// empty.
  Taken unkeep_nearest(size_t bytes) {
    auto at = kept_.lower_bound(bytes);
    if (at == kept_.end()) --at;
    return at->first < least_mapped ? Taken{nullptr, 0} : unkeep(at, Which::oldest);
  }

  void count(size_t bytes) {
    live_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, live_);
  }

  const Source& source_;
  const bool is_bounded_;
  std::mutex mutex_;
  BySize kept_;
  size_t kept_bytes_ = 0;
  uint64_t turn_ = 0;
  int64_t taken_ = 0;  // in use, of what comes from here
  RecentPeak recent_;  // of it
  int64_t since_turn_ = 0;
  int64_t live_ = 0;
  int64_t peak_ = 0;
};

/// Never destroyed: buffers may outlive static destruction.
Pool& pool() {
  static Pool* const instance = new Pool(host_pages);
  return *instance;
}
Pool& pool(Device device) {
  static Pool* const gpu = new Pool(gpu_memory);
  static Pool* const pinned = new Pool(pinned_memory);
  return device == Device::cpu ? pool() : device == Device::cuda ? *gpu : *pinned;
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
  return allocate(Device::cpu, dtype, shape);
}

Buffer allocate(Device device, DType dtype, std::initializer_list<int64_t> shape) {
  if (device != Device::cpu) cuda::open();
  Buffer buffer = shaped(dtype, shape);
  Pool& memory = pool(device);
  const Pool::Taken taken = memory.take(size_class(bytes_of(buffer)));
  buffer.memory = std::shared_ptr<void>(taken.memory, [&memory, size = taken.bytes](void* given) {
    memory.give({given, size});
  });
  buffer.view.data = taken.memory;
  buffer.view.device = device;
  return buffer;
}

Buffer allocate_shared(DType dtype, std::initializer_list<int64_t> shape) {
  return allocate(cuda::is_open() ? Device::shared : Device::cpu, dtype, shape);
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

BufferUse buffer_use(Device device) { return pool(device).use(); }

void forget_peak() { pool().forget_peak(); }

void release_kept_buffers() { pool().release(); }

void copy_now(const ConstTensor& from, const Tensor& to) {
  const int64_t bytes = from.count() * size_of(from.dtype);
  if (!from.is_contiguous() || !to.is_contiguous() || to.count() * size_of(to.dtype) != bytes) {
    throw KernelError("copy_now of " + describe(from) + " to " + describe(to) +
                      ", wanted contiguous tensors of as many bytes");
  }
  if (from.device == Device::cuda || to.device == Device::cuda) {
    cuda::copy_bytes(to.data, from.data, static_cast<size_t>(bytes));
  } else if (bytes > 0) {
    std::memcpy(to.data, from.data, static_cast<size_t>(bytes));
  }
}

void zero_now(const Tensor& tensor) {
  const auto bytes = static_cast<size_t>(tensor.count() * size_of(tensor.dtype));
  if (!tensor.is_contiguous()) {
    throw KernelError("zero_now of " + describe(tensor) + ", wanted a contiguous tensor");
  }
  if (tensor.device == Device::cuda) {
    cuda::zero_bytes(tensor.data, bytes);
  } else if (bytes > 0) {
    std::memset(tensor.data, 0, bytes);
  }
}

Buffer on_host(const ConstTensor& tensor) {
  Buffer copy;
  static_cast<BasicTensor<void*>&>(copy.view) = {const_cast<void*>(tensor.data), tensor.dtype,
                                                 tensor.device, tensor.rank, tensor.shape,
                                                 tensor.row_stride};
  if (tensor.device != Device::cuda) return copy;
  copy = allocate(tensor.dtype, {tensor.rows(), tensor.cols()});
  const Tensor flat = copy.view;
  if (tensor.is_contiguous()) {
    copy_now(tensor, flat);
  } else {
    for (int64_t r = 0; r < tensor.rows(); ++r) {
      copy_now(row_range(tensor, r, 1), row_range(flat, r, 1));
    }
  }
  copy.view.rank = tensor.rank;
  copy.view.shape = tensor.shape;
  return copy;
}

}  // namespace troupe::kernels
