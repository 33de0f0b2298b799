#include "runtime/state/arena.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>

#include "runtime/state/elements.h"
#include "runtime/state/gpu_mirror.h"
#include "runtime/state/huge_pages.h"

namespace troupe::runtime {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::Tensor;

/// No elements of a buffer that is not there.
Tensor elements(const Buffer& buffer, int64_t first, int64_t count) {
  if (!buffer) return kernels::tensor(static_cast<float*>(nullptr), {0});
  return runtime::elements(buffer.view, first, count);
}

/// One stretch of memory that all tensors are cut from. A process of several never writes what it
/// neither uses nor owns, and such pages take no memory.
class Slab {
 public:
  Slab(const std::vector<kernels::ParameterSpec>& specs, const StateFormat& format) {
    int64_t bytes = 0;
    for (const auto& spec : specs) {
      const int64_t n = spec.count();
      bytes += 2 * (2 * padded(n * kernels::size_of(format.moments)) + padded(n * 4)) + padded(n * 8);
      if (format.has_ema) bytes += 2 * padded(n * 4);
    }
    all_ = kernels::allocate_sparse_zeros(DType::i64, {bytes / 8});
  }

  Buffer cut(DType dtype, const std::vector<int64_t>& shape) {
    Buffer part{all_.view, all_.memory};
    part.view.data = static_cast<char*>(all_.view.data) + used_;
    part.view.dtype = dtype;
    part.view.rank = static_cast<int>(shape.size());
    part.view.shape = {};
    std::copy(shape.begin(), shape.end(), part.view.shape.begin());
    part.view.row_stride = part.view.cols();
    used_ += padded(part.view.count() * kernels::size_of(dtype));
    return part;
  }

 private:
  static int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  Buffer all_;
  int64_t used_ = 0;
};

}  // namespace

std::string describe(const StateFormat& format) {
  return std::string(kernels::to_string(format.moments)) + " moments" +
         (format.has_ema ? " and an EMA" : "");
}

int64_t stored_bytes_per_parameter(const StateFormat& format) {
  return 4 + 2 * kernels::size_of(format.moments) + (format.has_ema ? 4 : 0);
}

int64_t bytes_per_parameter(const StateFormat& format) {
  return 2 * stored_bytes_per_parameter(format) + 8;
}

StateArena::StateArena(std::vector<kernels::ParameterSpec> specs, StateFormat format)
    : specs_(std::move(specs)), format_(format) {
  if (format.moments != DType::f32 && format.moments != DType::bf16) {
    throw StateError("a state with " + describe(format) + ", wanted f32 or bf16 moments");
  }
  Slab slab(specs_, format);
  std::vector<int> order;
  for (int t = 0; t < tensors(); ++t) {
    const auto& spec = specs_[static_cast<size_t>(t)];
    if (!by_name_.emplace(spec.name, t).second) {
      throw StateError("tensor " + spec.name + " is listed twice");
    }
    order.push_back(t);
    Storage s;
    for (int version = 0; version < 2; ++version) {
      s.weight[version] = slab.cut(DType::f32, spec.shape);
      s.moment1[version] = slab.cut(format.moments, spec.shape);
      s.moment2[version] = slab.cut(format.moments, spec.shape);
      if (format.has_ema) s.ema[version] = slab.cut(DType::f32, spec.shape);
    }
    s.gradient = slab.cut(DType::i64, spec.shape);
    s.locks = std::make_unique<kernels::FixedPointLocks>(spec.count());
    storage_.push_back(std::move(s));
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) { return spec(a).name < spec(b).name; });
  blocks_of_.resize(specs_.size());
  for (const int t : order) {
    const int64_t count = spec(t).count();
    blocks_of_[static_cast<size_t>(t)] = {static_cast<int64_t>(blocks_.size()),
                                          (count + block_elements - 1) / block_elements};
    for (int64_t first = 0; first < count; first += block_elements) {
      blocks_.push_back({t, first / block_elements, first, std::min(block_elements, count - first)});
    }
  }
  for (auto& stamps : stamps_) stamps = std::vector<std::atomic<uint64_t>>(blocks_.size());
}

StateArena::~StateArena() = default;

void StateArena::expect(const std::function<BlockUse(int64_t id)>& use) {
  HugePages pages;
  for (int64_t id = 0; id < static_cast<int64_t>(blocks_.size()); ++id) {
    const Block& b = blocks_[static_cast<size_t>(id)];
    const BlockUse wanted = use(id);
    for (const uint64_t version : {0, 1}) {
      const BlockState state = host_block(id, version);
      if (wanted.weights) pages.add(state.weight);
      if (!wanted.moments) continue;
      for (const Tensor& part : {state.moment1, state.moment2, state.ema}) pages.add(part);
    }
    if (wanted.gradient) pages.add(elements(storage_[static_cast<size_t>(b.tensor)].gradient, b.first, b.count));
  }
  pages.request();
}

void StateArena::open_mirror() {
  if (!mirror_) mirror_ = std::make_unique<GpuMirror>(*this);
}

uint32_t StateArena::faults() const { return faults_.load() | (mirror_ ? mirror_->faults() : 0); }

int StateArena::index(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) throw StateError("no tensor is named " + std::string(name));
  return found->second;
}

kernels::ConstTensor StateArena::host_weight(int tensor, uint64_t state) const {
  return storage_[static_cast<size_t>(tensor)].weight[state % 2];
}

void StateArena::see(int tensor, uint64_t state) const {
  if (!mirror_) return;
  const auto [first, count] = blocks_of_[static_cast<size_t>(tensor)];
  for (int64_t id = first; id < first + count; ++id) {
    if (!mirror_->is_newer(id, state)) continue;
    mirror_->download(id, blocks_[static_cast<size_t>(id)], state, host_block(id, state));
  }
}

kernels::ConstTensor StateArena::weight(int tensor, uint64_t state) const {
  see(tensor, state);
  return host_weight(tensor, state);
}

Tensor StateArena::mutable_weight(int tensor, uint64_t state) {
  return storage_[static_cast<size_t>(tensor)].weight[state % 2];
}

kernels::ConstTensor StateArena::ema(int tensor, uint64_t state) const {
  if (!format_.has_ema) throw StateError("the state has no EMA of its weights");
  see(tensor, state);
  return storage_[static_cast<size_t>(tensor)].ema[state % 2];
}

void StateArena::begin_ema(const std::function<bool(int tensor)>& wanted) {
  for (int t = 0; t < tensors(); ++t) {
    const Storage& s = storage_[static_cast<size_t>(t)];
    if (!s.ema[0] || (wanted && !wanted(t))) continue;
    std::memcpy(s.ema[0].view.data, s.weight[0].view.data,
                static_cast<size_t>(s.weight[0].view.count()) * sizeof(float));
  }
}

BlockState StateArena::block(int64_t id, uint64_t state) {
  const BlockState host = host_block(id, state);
  if (mirror_ && mirror_->is_newer(id, state)) {
    mirror_->download(id, blocks_[static_cast<size_t>(id)], state, host);
  }
  return host;
}

std::vector<BlockRange> StateArena::ranges(std::span<const int64_t> ids) const {
  std::vector<BlockRange> out;
  for (const int64_t id : ids) {
    const Block& b = blocks_[static_cast<size_t>(id)];
    if (!out.empty() && out.back().tensor == b.tensor &&
        out.back().first_block + out.back().blocks == id) {
      ++out.back().blocks;
      out.back().count += b.count;
    } else {
      out.push_back({b.tensor, id, 1, b.first, b.count});
    }
  }
  return out;
}

BlockState StateArena::host_block(int64_t id, uint64_t state) const {
  const Block& b = blocks_[static_cast<size_t>(id)];
  const Storage& s = storage_[static_cast<size_t>(b.tensor)];
  const size_t version = state % 2;
  return {elements(s.weight[version], b.first, b.count),
          elements(s.moment1[version], b.first, b.count),
          elements(s.moment2[version], b.first, b.count),
          elements(s.ema[version], b.first, b.count)};
}

template <class F>
void StateArena::for_parts(const Block& block, const F& f) const {
  using Locks = kernels::FixedPointLocks;
  static_assert(block_elements % Locks::stride == 0, "a part is of one block");
  Locks& locks = *storage_[static_cast<size_t>(block.tensor)].locks;
  const int64_t end = block.first + block.count;
  for (int64_t first = block.first; first < end; first += Locks::stride) {
    Locks::Part& part = locks.of(first);
    std::lock_guard lock(part.mutex);
    f(part, first, std::min(Locks::stride, end - first));
  }
}

Tensor StateArena::zeroed_where_cleared(const Block& b) const {
  const Buffer& gradient = storage_[static_cast<size_t>(b.tensor)].gradient;
  int64_t* const sums = kernels::values<int64_t>(gradient.view);
  for_parts(b, [sums](kernels::FixedPointLocks::Part& part, int64_t first, int64_t count) {
    if (std::exchange(part.is_cleared, false)) std::fill_n(sums + first, count, int64_t{0});
  });
  return kernels::tensor(sums + b.first, {b.count});
}

kernels::ConstTensor StateArena::block_gradient(int64_t id) const {
  return zeroed_where_cleared(blocks_[static_cast<size_t>(id)]);
}

Tensor StateArena::mutable_block_gradient(int64_t id) {
  return zeroed_where_cleared(blocks_[static_cast<size_t>(id)]);
}

Tensor StateArena::range_gradient(const BlockRange& range) {
  Tensor all = mutable_block_gradient(range.first_block);
  for (int64_t id = range.first_block + 1; id < range.first_block + range.blocks; ++id) {
    mutable_block_gradient(id);
  }
  all.shape = {range.count};
  all.row_stride = range.count;
  return all;
}

std::array<Tensor, 4> StateArena::host_parts(const BlockRange& range, uint64_t state) const {
  std::array<Tensor, 4> parts = host_block(range.first_block, state).parts();
  for (Tensor& part : parts) {  // a tensor's blocks lie in a row
    if (part.count() == 0) continue;
    part.shape = {range.count};
    part.row_stride = range.count;
  }
  return parts;
}

kernels::ConstTensor StateArena::tensor_gradient(int tensor) const {
  const Blocks& mine = blocks_of_[static_cast<size_t>(tensor)];
  for (int64_t id = mine.first; id < mine.first + mine.count; ++id) block_gradient(id);
  return storage_[static_cast<size_t>(tensor)].gradient;
}

uint64_t StateArena::stamp(int64_t id, uint64_t state) const {
  return stamps_[state % 2][static_cast<size_t>(id)].load(std::memory_order_acquire);
}

int64_t StateArena::blocks_at(const BlockRange& range, uint64_t state) const {
  const auto* const first = stamps_[state % 2].data() + range.first_block;
  return std::count_if(first, first + range.blocks, [state](const std::atomic<uint64_t>& stamp) {
    return stamp.load(std::memory_order_acquire) == state;
  });
}

void StateArena::set_stamp(int64_t id, uint64_t state) {
  if (mirror_) mirror_->host_wrote(id, state);
  stamps_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
}

void StateArena::forget() {
  if (mirror_) mirror_->forget();
  for (Storage& s : storage_) {
    for (int version = 0; version < 2; ++version) {
      for (Buffer* buffer : {&s.weight[version], &s.moment1[version], &s.moment2[version], &s.ema[version]}) {
        if (!*buffer) continue;
        const auto bytes = static_cast<size_t>(buffer->view.count() * kernels::size_of(buffer->view.dtype));
        std::memset(buffer->view.data, 0, bytes);
      }
    }
  }
  for (auto& stamps : stamps_) {
    for (auto& stamp : stamps) stamp = 0;
  }
}

void StateArena::set_stamp_of_gpu(const BlockRange& range, uint64_t state) {
  mirror_->updated(range, state);
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
    stamps_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
  }
}

void StateArena::set_stamp_of_received(const BlockRange& range, uint64_t state) {
  mirror_->got(range, state);
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
    stamps_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
  }
}

kernels::GradientSum StateArena::gradient(int tensor, int scale_bits, int64_t units) {
  Storage& s = storage_[static_cast<size_t>(tensor)];
  return {s.gradient, scale_bits, units, &faults_, s.locks.get()};
}

void StateArena::clear_ranges(kernels::Queue& queue, std::span<const BlockRange> ranges) {
  faults_ = 0;
  mirror_->forget_faults();
  for (const BlockRange& range : ranges) mirror_->clear(queue, range);
}

void StateArena::clear_gradients(kernels::Queue& queue, std::span<const int64_t> blocks) {
  if (queue.is_cuda()) return clear_ranges(queue, ranges(blocks));
  faults_ = 0;
  if (mirror_) mirror_->forget_faults();
  // Ids are copied: the operation may outlive the caller's list.
  queue.run(static_cast<int64_t>(blocks.size()),
            [this, ids = std::vector<int64_t>(blocks.begin(), blocks.end())](int64_t i) {
              const Block& b = blocks_[static_cast<size_t>(ids[static_cast<size_t>(i)])];
              if (mirror_) return mirror_->clear(b);  // from which all of the host's sums come
              for_parts(b, [](kernels::FixedPointLocks::Part& part, int64_t, int64_t) { part.is_cleared = true; });
            });
}

void StateArena::fetch_gradients(kernels::Queue& queue, std::span<const int64_t> blocks) {
  if (!mirror_) return;
  queue.run(static_cast<int64_t>(blocks.size()),
            [this, ids = std::vector<int64_t>(blocks.begin(), blocks.end())](int64_t i) {
              const int64_t id = ids[static_cast<size_t>(i)];
              mirror_->fetch(blocks_[static_cast<size_t>(id)], mutable_block_gradient(id));
            });
}

void StateArena::fetch_gradients(kernels::Queue& queue) {
  std::vector<int64_t> all(blocks_.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  fetch_gradients(queue, all);
}

void StateArena::clear_gradients(kernels::Queue& queue) {
  std::vector<int64_t> all(blocks_.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  clear_gradients(queue, all);
}

int64_t StateArena::parameter_count() const {
  int64_t n = 0;
  for (const auto& spec : specs_) n += spec.count();
  return n;
}

void initialise(StateArena& arena, uint64_t seed, float std,
                const std::function<bool(int tensor)>& wanted) {
  std::vector<int64_t> blocks;
  for (int64_t id = 0; id < static_cast<int64_t>(arena.blocks().size()); ++id) {
    if (!wanted || wanted(arena.blocks()[static_cast<size_t>(id)].tensor)) blocks.push_back(id);
  }
  const auto fill = [&](int64_t i) {
    const Block& block =
        arena.blocks()[static_cast<size_t>(blocks[static_cast<size_t>(i)])];
    float* const out = kernels::values<float>(arena.mutable_weight(block.tensor, 0)) + block.first;
    kernels::initial_values(arena.spec(block.tensor), seed, std, block.first,
                            {out, static_cast<size_t>(block.count)});
  };
  constexpr int64_t worth_threads = 64;  // blocks: about half a second of one thread
  const auto count = static_cast<int64_t>(blocks.size());
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (count < worth_threads || threads == 1) {
    for (int64_t i = 0; i < count; ++i) fill(i);
  } else {
    kernels::ThreadPool pool(threads);
    kernels::Queue queue(pool);
    queue.run(count, fill);
    queue.wait();
  }
  arena.begin_ema(wanted);
}

}  // namespace troupe::runtime
