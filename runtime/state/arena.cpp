#include "runtime/state/arena.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace troupe::runtime {
namespace {

using kernels::Buffer;
using kernels::DType;
using kernels::Tensor;

Tensor elements(const Buffer& buffer, int64_t first, int64_t count) {
  return kernels::tensor(kernels::values<float>(buffer.view) + first, {count});
}

Buffer make(DType dtype, const std::vector<int64_t>& shape, bool zeros) {
  const auto one = zeros ? kernels::allocate_zeros : kernels::allocate;
  return shape.size() == 2 ? one(dtype, {shape[0], shape[1]}) : one(dtype, {shape[0]});
}

}  // namespace

StateArena::StateArena(std::vector<kernels::ParameterSpec> specs) : specs_(std::move(specs)) {
  std::vector<int> order;
  for (int t = 0; t < tensors(); ++t) {
    const auto& spec = specs_[static_cast<size_t>(t)];
    if (!by_name_.emplace(spec.name, t).second) {
      throw StateError("tensor " + spec.name + " is listed twice");
    }
    order.push_back(t);
    Storage s;
    for (int version = 0; version < 2; ++version) {
      s.weight[version] = make(DType::f32, spec.shape, false);
      s.moment1[version] = make(DType::f32, spec.shape, true);
      s.moment2[version] = make(DType::f32, spec.shape, true);
    }
    s.gradient = make(DType::i64, spec.shape, true);
    s.locks = std::make_unique<kernels::FixedPointLocks>(spec.count());
    storage_.push_back(std::move(s));
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) { return spec(a).name < spec(b).name; });
  for (const int t : order) {
    const int64_t count = spec(t).count();
    for (int64_t first = 0; first < count; first += block_elements) {
      blocks_.push_back({t, first / block_elements, first, std::min(block_elements, count - first)});
    }
  }
  for (auto& stamps : stamps_) stamps = std::vector<std::atomic<uint64_t>>(blocks_.size());
}

int StateArena::index(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) throw StateError("no tensor is named " + std::string(name));
  return found->second;
}

kernels::ConstTensor StateArena::weight(int tensor, uint64_t state) const {
  return storage_[static_cast<size_t>(tensor)].weight[state % 2];
}

Tensor StateArena::mutable_weight(int tensor, uint64_t state) {
  return storage_[static_cast<size_t>(tensor)].weight[state % 2];
}

BlockState StateArena::block(int64_t id, uint64_t state) {
  const Block& b = blocks_[static_cast<size_t>(id)];
  const Storage& s = storage_[static_cast<size_t>(b.tensor)];
  const size_t version = state % 2;
  return {elements(s.weight[version], b.first, b.count),
          elements(s.moment1[version], b.first, b.count),
          elements(s.moment2[version], b.first, b.count)};
}

kernels::ConstTensor StateArena::block_gradient(int64_t id) const {
  const Block& b = blocks_[static_cast<size_t>(id)];
  const Buffer& gradient = storage_[static_cast<size_t>(b.tensor)].gradient;
  return kernels::tensor(kernels::values<int64_t>(gradient.view) + b.first, {b.count});
}

uint64_t StateArena::stamp(int64_t id, uint64_t state) const {
  return stamps_[state % 2][static_cast<size_t>(id)].load(std::memory_order_acquire);
}

void StateArena::set_stamp(int64_t id, uint64_t state) {
  stamps_[state % 2][static_cast<size_t>(id)].store(state, std::memory_order_release);
}

kernels::GradientSum StateArena::gradient(int tensor, int scale_bits, int64_t units) {
  Storage& s = storage_[static_cast<size_t>(tensor)];
  return {s.gradient, scale_bits, units, &faults_, s.locks.get()};
}

void StateArena::clear_gradients(kernels::Queue& queue, std::span<const int64_t> blocks) {
  faults_ = 0;
  // Ids are copied: the operation may outlive the caller's list.
  queue.run(static_cast<int64_t>(blocks.size()),
            [this, ids = std::vector<int64_t>(blocks.begin(), blocks.end())](int64_t i) {
              const Block& b = blocks_[static_cast<size_t>(ids[static_cast<size_t>(i)])];
              const Buffer& g = storage_[static_cast<size_t>(b.tensor)].gradient;
              std::memset(kernels::values<int64_t>(g.view) + b.first, 0,
                          static_cast<size_t>(b.count) * sizeof(int64_t));
            });
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

int64_t StateArena::bytes() const { return parameter_count() * (2 * 3 * 4 + 8); }

void initialise(StateArena& arena, uint64_t seed, float std) {
  for (int t = 0; t < arena.tensors(); ++t) {
    float* out = kernels::values<float>(arena.mutable_weight(t, 0));
    const auto& spec = arena.spec(t);
    for (int64_t i = 0; i < spec.count(); ++i) {
      out[i] = kernels::initial_value(spec, seed, std, i);
    }
  }
}

}  // namespace troupe::runtime
