#include "runtime/state/gpu_mirror.h"

#include <algorithm>
#include <new>
#include <utility>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/permute.h"
#include "runtime/state/arena.h"
#include "runtime/state/elements.h"

namespace troupe::runtime {

using kernels::Buffer;
using kernels::ConstTensor;
using kernels::Device;
using kernels::DType;
using kernels::Tensor;

namespace {

/// As many elements of `buffer`, in the shape of t.
Buffer shaped_like(const ConstTensor& t, Buffer buffer) {
  buffer.view.rank = t.rank;
  buffer.view.shape = t.shape;
  buffer.view.row_stride = t.cols();
  return buffer;
}

Buffer shaped_as(const ConstTensor& t, DType dtype) {
  return shaped_like(t, kernels::allocate(Device::cuda, dtype, {t.count()}));
}

}  // namespace

GpuMirror::GpuMirror(const StateArena& arena)
    : arena_(arena),
      tensors_(static_cast<size_t>(arena.tensors())),
      faults_memory_(kernels::allocate(Device::shared, DType::i32, {1})),
      faults_(new (faults_memory_.view.data) std::atomic<uint32_t>(0)) {
  for (auto* stamps : {&made_, &known_}) {
    for (auto& of_version : *stamps) {
      of_version = std::vector<std::atomic<uint64_t>>(arena.blocks().size());
    }
  }
  for (size_t id = 0; id < arena.blocks().size(); ++id) {
    Mirrored& mine = of(arena.blocks()[id].tensor);
    if (mine.blocks++ == 0) mine.first_block = static_cast<int64_t>(id);
    for (uint64_t version = 0; version < 2; ++version) {
      made_[version][id] = nothing;
      known_[version][id] = arena.stamp(static_cast<int64_t>(id), version);
    }
  }
}

/// Whether all of the tensor's state was made here.
bool GpuMirror::has_made(int tensor, uint64_t state) const {
  const Mirrored& mine = tensors_[static_cast<size_t>(tensor)];
  for (int64_t id = mine.first_block; id < mine.first_block + mine.blocks; ++id) {
    if (!has_made_block(id, state)) return false;
  }
  return true;
}

template <class F>
void GpuMirror::for_unmade(const BlockRange& range, uint64_t state, F each) const {
  const int64_t end = range.first_block + range.blocks;
  for (int64_t id = range.first_block; id < end;) {
    const int64_t first = id;
    int64_t count = 0;
    for (; id < end && !has_made_block(id, state); ++id) {
      count += arena_.blocks()[static_cast<size_t>(id)].count;
    }
    if (count > 0) each(first, arena_.blocks()[static_cast<size_t>(first)].first, count);
    if (id == first) ++id;
  }
}

Buffer& GpuMirror::part_of(int tensor, uint64_t state, size_t part) {
  Buffer& buffer = of(tensor).versions[state % 2].parts[part];
  if (!buffer) {
    const bool is_moment = part == 1 || part == 2;
    const ConstTensor shape = arena_.host_weight(tensor, state);
    buffer = shaped_as(shape, is_moment ? arena_.format().moments : DType::f32);
  }
  return buffer;
}

Tensor GpuMirror::elements(int tensor, uint64_t state, size_t part, int64_t first, int64_t count) {
  return runtime::elements(part_of(tensor, state, part), first, count);
}

ConstTensor GpuMirror::locked_weight(int tensor, uint64_t state, const UnitEpoch& attempt) {
  const Buffer& values = part_of(tensor, state, 0);
  Version& version = of(tensor).versions[state % 2];
  if (has_made(tensor, state) || (version.state == state && version.attempt == attempt)) {
    return values;
  }
  const Mirrored& mine = of(tensor);
  // What was made here may be newer than the host's.
  for_unmade({tensor, mine.first_block, mine.blocks, 0, values.view.count()}, state,
             [&](int64_t id, int64_t first, int64_t count) {
               Tensor host = arena_.host_block(id, state).weight;
               host.shape = {count};  // the tensor's blocks lie in a row
               host.row_stride = count;
               kernels::copy_now(host, runtime::elements(values, first, count));
             });
  version.state = state;
  version.attempt = attempt;
  return values;
}

ConstTensor GpuMirror::weight(int tensor, uint64_t state, const UnitEpoch& attempt) {
  std::lock_guard lock(of(tensor).mutex);
  return locked_weight(tensor, state, attempt);
}

void GpuMirror::pack(int tensor, uint64_t state, const UnitEpoch& attempt) {
  Mirrored& mine = of(tensor);
  std::lock_guard lock(mine.mutex);
  Packed& packed = mine.packed;
  if (packed.state == state && (packed.attempt == attempt || has_made(tensor, state))) return;
  kernels::cuda::pack_now(locked_weight(tensor, state, attempt), packed.view);
  packed.state = state;
  packed.attempt = attempt;
}

/// Together, as they are asked for: a plan of more or fewer processes has other companies.
bool GpuMirror::are_laid_out(std::span<const int> tensors) {
  const auto memory_of = [this](int tensor) {
    std::lock_guard lock(of(tensor).mutex);
    return of(tensor).packed.memory;
  };
  const std::shared_ptr<void> memory = memory_of(tensors.front());
  return memory && std::all_of(tensors.begin(), tensors.end(),
                               [&](int tensor) { return memory_of(tensor) == memory; });
}

void GpuMirror::lay_out(std::span<const int> tensors) {
  int64_t rows = 0;
  const int64_t cols = arena_.host_weight(tensors.front(), 0).cols();
  for (const int tensor : tensors) rows += arena_.host_weight(tensor, 0).rows();
  const int64_t stride = (cols + 7) / 8 * 8;
  const Buffer all = kernels::allocate(Device::cuda, DType::bf16, {rows, stride});
  int64_t row = 0;
  for (const int tensor : tensors) {
    const int64_t its = arena_.host_weight(tensor, 0).rows();
    std::lock_guard lock(of(tensor).mutex);
    of(tensor).packed = {.view = columns(row_range(all.view, row, its), 0, cols), .memory = all.memory,
                         .attempt = {}};
    row += its;
  }
}

std::vector<ConstTensor> GpuMirror::bf16_weights(std::span<const int> tensors, uint64_t state,
                                                 const UnitEpoch& attempt) {
  std::vector<ConstTensor> out;
  if (tensors.empty()) return out;
  {
    std::lock_guard lock(layout_);
    if (!are_laid_out(tensors)) lay_out(tensors);
  }
  for (const int tensor : tensors) {
    pack(tensor, state, attempt);
    out.push_back(of(tensor).packed.view);
  }
  return out;
}

void GpuMirror::make_gradient(int tensor) {
  Mirrored& mine = of(tensor);
  if (mine.gradient) return;
  const Buffer memory = kernels::allocate(Device::cuda, DType::i64, {arena_.host_weight(tensor, 0).count()});
  kernels::zero_now(memory);
  set_gradient_memory(tensor, memory);
}

/// Which is zero.
void GpuMirror::set_gradient_memory(int tensor, const Buffer& memory) {
  Mirrored& mine = of(tensor);
  mine.gradient = shaped_like(arena_.host_weight(tensor, 0), memory);
  // Not one is taken: that they are there says that several queues add to the sum.
  mine.locks = std::make_unique<kernels::FixedPointLocks>(0);
}

void GpuMirror::lay_together(std::span<const int> tensors) {
  std::vector<int> in_order(tensors.begin(), tensors.end());  // of blocks, as they travel
  std::ranges::sort(in_order, {}, [this](int tensor) { return of(tensor).first_block; });
  lay_together(in_order, DType::i64, [](Mirrored& mine) { return mine.gradient.memory != nullptr; },
               [this](int tensor, const Buffer& memory) {
                 kernels::zero_now(memory);
                 set_gradient_memory(tensor, memory);
               });
  for (size_t version = 0; version < 2; ++version) {
    lay_together(in_order, DType::f32,
                 [version](Mirrored& mine) { return mine.versions[version].parts[0].memory != nullptr; },
                 [this, version](int tensor, const Buffer& memory) {
                   of(tensor).versions[version].parts[0] = shaped_like(arena_.host_weight(tensor, version), memory);
                 });
  }
}

template <class Has, class Give>
void GpuMirror::lay_together(std::span<const int> tensors, DType dtype, Has has, Give give) {
  constexpr int64_t alignment = 16;  // elements; few tensors have not whole ones
  std::vector<std::pair<int, int64_t>> places;
  int64_t elements = 0;
  for (const int tensor : tensors) {
    std::lock_guard lock(of(tensor).mutex);
    if (has(of(tensor))) continue;
    places.push_back({tensor, elements});
    elements += (arena_.host_weight(tensor, 0).count() + alignment - 1) / alignment * alignment;
  }
  if (places.empty()) return;
  const Buffer all = kernels::allocate(Device::cuda, dtype, {elements});
  for (const auto& [tensor, first] : places) {
    std::lock_guard lock(of(tensor).mutex);
    if (has(of(tensor))) continue;  // meanwhile
    const int64_t count = arena_.host_weight(tensor, 0).count();
    give(tensor, Buffer{runtime::elements(all, first, count), all.memory});
  }
}

const void* GpuMirror::allocation_of_weights(int tensor, uint64_t state) {
  std::lock_guard lock(of(tensor).mutex);
  return of(tensor).versions[state % 2].parts[0].memory.get();
}

void GpuMirror::forget_bf16(std::span<const int> tensors) {
  for (const int tensor : tensors) {
    std::lock_guard lock(of(tensor).mutex);
    of(tensor).packed = {};
  }
}

void GpuMirror::forget_weights(std::span<const int> tensors) {
  forget_bf16(tensors);
  for (const int tensor : tensors) {
    std::lock_guard lock(of(tensor).mutex);
    for (Version& version : of(tensor).versions) version = {};
  }
}

void GpuMirror::locked_bring(const BlockRange& range, uint64_t state) {
  const size_t parts = arena_.format().has_ema ? 4 : 3;
  for_unmade(range, state, [&](int64_t id, int64_t first, int64_t count) {
    auto host = arena_.host_block(id, state).parts();  // the tensor's blocks lie in a row
    for (size_t part = 0; part < parts; ++part) {
      host[part].shape = {count};
      host[part].row_stride = count;
      kernels::copy_now(host[part], elements(range.tensor, state, part, first, count));
    }
  });
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
    if (!has_made_block(id, state)) made_[state % 2][static_cast<size_t>(id)] = state;
  }
}

void GpuMirror::bring(const BlockRange& range, uint64_t state) {
  std::lock_guard lock(of(range.tensor).mutex);
  locked_bring(range, state);
}

Tensor GpuMirror::weights(const BlockRange& range, uint64_t state) {
  std::lock_guard lock(of(range.tensor).mutex);
  return elements(range.tensor, state, 0, range.first, range.count);
}

std::array<Tensor, 4> GpuMirror::parts(const BlockRange& range, uint64_t state) {
  std::lock_guard lock(of(range.tensor).mutex);
  std::array<Tensor, 4> parts{};
  for (size_t part = 0; part < (arena_.format().has_ema ? 4u : 3u); ++part) {
    parts[part] = elements(range.tensor, state, part, range.first, range.count);
  }
  return parts;
}

void GpuMirror::got(const BlockRange& range, uint64_t state) {
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
    known_[state % 2][static_cast<size_t>(id)].store(nothing, std::memory_order_release);
    made_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
  }
}

void GpuMirror::forget() {
  for (Mirrored& mine : tensors_) {
    std::lock_guard lock(mine.mutex);
    mine.packed.state = nothing;
    for (Version& version : mine.versions) version.state = nothing;
  }
  for (auto* stamps : {&made_, &known_}) {
    for (auto& of_version : *stamps) {
      for (auto& stamp : of_version) stamp = nothing;
    }
  }
}

GpuMirror::Update GpuMirror::update(const BlockRange& range, uint64_t state) {
  Mirrored& mine = of(range.tensor);
  std::lock_guard lock(mine.mutex);
  const size_t parts = arena_.format().has_ema ? 4 : 3;
  locked_bring(range, state - 1);
  Update update{};
  for (size_t part = 0; part < parts; ++part) {
    update.before[part] = elements(range.tensor, state - 1, part, range.first, range.count);
    update.after[part] = elements(range.tensor, state, part, range.first, range.count);
  }
  const Packed& packed = mine.packed;
  const bool is_whole = range.blocks == mine.blocks;
  if (packed.memory && is_whole && packed.state == state - 1 && packed.view.cols() % 8 == 0) {
    update.bf16 = packed.view;
    update.bf16.rank = 1;
    update.bf16.shape = {range.count};
    update.bf16.row_stride = range.count;
  }
  return update;
}

void GpuMirror::updated(const BlockRange& range, uint64_t state) {
  Mirrored& mine = of(range.tensor);
  std::lock_guard lock(mine.mutex);
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
    made_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
  }
  const bool is_whole = range.blocks == mine.blocks;
  if (is_whole && mine.packed.state == state - 1 && mine.packed.view.cols() % 8 == 0) {
    mine.packed.state = state;
  }
}

bool GpuMirror::is_newer(int64_t id, uint64_t state) const {
  const auto at = static_cast<size_t>(id);
  return made_[state % 2][at].load(std::memory_order_acquire) == state &&
         known_[state % 2][at].load(std::memory_order_acquire) != state;
}

void GpuMirror::download(int64_t id, const Block& block, uint64_t state, const BlockState& to) {
  Mirrored& mine = of(block.tensor);
  std::lock_guard lock(mine.mutex);
  if (!is_newer(id, state)) return;  // another thread has
  const auto parts = to.parts();
  for (size_t part = 0; part < parts.size(); ++part) {
    // Of a block whose weights alone are computed with here there may be no moments.
    if (parts[part].count() == 0 || !mine.versions[state % 2].parts[part]) continue;
    kernels::copy_now(elements(block.tensor, state, part, block.first, block.count), parts[part]);
  }
  known_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
}

void GpuMirror::host_wrote(int64_t id, uint64_t state) {
  made_[state % 2][static_cast<size_t>(id)].store(nothing, std::memory_order_release);
  known_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
}

}  // namespace troupe::runtime
