#include "actors/train/shard_memory.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <string>

#include "kernels/ops/fixed_point.h"
#include "kernels/ops/permute.h"
#include "runtime/state/elements.h"

namespace troupe::actors {

using kernels::Device;
using kernels::Tensor;
using runtime::BlockRange;
using runtime::elements;

Tensor ShardMemory::gradient(const BlockRange& range) {
  return queue_.is_cuda() ? arena_.mirror()->gradient_of(queue_, range) : arena_.range_gradient(range);
}

/// Weights, and with `are_whole` moments and EMA behind them.
ShardMemory::Parts ShardMemory::parts(const BlockRange& range, uint64_t state, bool are_whole) {
  if (queue_.is_cuda() && !are_whole) return {arena_.mirror()->weights(range, state)};
  const auto all = queue_.is_cuda() ? arena_.mirror()->parts(range, state) : arena_.host_parts(range, state);
  return {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(are_whole ? parts_of_whole() : 1)};
}

/// What has come, where the lane reads it: from a process whose state is elsewhere it may have to be copied.
Tensor ShardMemory::in_reach(const Tensor& come, std::vector<kernels::Buffer>& copies) {
  const bool is_on_gpu = come.device == Device::cuda;
  if (is_on_gpu == queue_.is_cuda()) return come;
  const kernels::Buffer copy =
      kernels::allocate(queue_.device(), come.dtype, {come.rows(), come.cols()});
  kernels::copy_now(come, copy);
  copies.push_back(copy);
  return elements(copy.view, 0, come.count());
}

void ShardMemory::expect_to_fit(std::span<const BlockRange> ranges, const Tensors& come, size_t parts) const {
  bool fits = come.size() == parts * ranges.size();
  for (size_t i = 0; fits && i < come.size(); ++i) fits = come[i].view.count() == ranges[i / parts].count;
  if (fits) return;
  throw runtime::StateError("found " + std::to_string(come.size()) + " tensors, wanted " +
                            std::to_string(parts) + " of the sizes of each of " +
                            std::to_string(ranges.size()) + " ranges of blocks");
}

/// Pairs what has come with the blocks' sums, cut where either is.
void ShardMemory::for_pieces(Ids blocks, const Tensors& come, const Each& each) {
  const Tensors own = gradients(blocks);
  const auto count_of = [](const Tensors& tensors) {
    return std::accumulate(tensors.begin(), tensors.end(), int64_t{0},
                           [](int64_t sum, const runtime::TensorRef& tensor) { return sum + tensor.view.count(); });
  };
  if (count_of(come) != count_of(own)) {
    throw runtime::StateError("found sums of " + std::to_string(count_of(come)) + " elements, wanted " +
                              std::to_string(count_of(own)));
  }
  std::vector<kernels::Buffer> copies;
  size_t at = 0;
  int64_t used = 0;  // of own[at]
  for (const runtime::TensorRef& one : come) {
    const Tensor tensor = in_reach(one.view, copies);
    for (int64_t first = 0; first < tensor.count();) {
      const int64_t n = std::min(tensor.count() - first, own[at].view.count() - used);
      each(elements(own[at].view, used, n), elements(tensor, first, n));
      first += n;
      used += n;
      if (used < own[at].view.count()) continue;
      ++at;
      used = 0;
    }
  }
  if (!copies.empty()) queue_.then([copies = std::move(copies)](std::exception_ptr) {});
}

namespace {

/// Tensors that are sent, neighbours of one allocation as one.
class Joined {
 public:
  /// `allocation` is that of the tensor's memory; null: it is joined with none.
  void add(const Tensor& tensor, const void* allocation) {
    constexpr int64_t most = int64_t{64} << 20;  // bytes of one: several are on their way at a time
    if (allocation != nullptr && allocation == allocation_) {
      Tensor& before = tensors_.back().view;
      const int64_t bytes = before.count() * kernels::size_of(before.dtype);
      const int64_t more = tensor.count() * kernels::size_of(tensor.dtype);
      if (static_cast<char*>(before.data) + bytes == tensor.data && bytes + more <= most) {
        before = elements(before, 0, before.count() + tensor.count());
        return;
      }
    }
    allocation_ = allocation;
    tensors_.push_back({tensor, nullptr});
  }
  ShardMemory::Tensors take() { return std::move(tensors_); }

 private:
  ShardMemory::Tensors tensors_;
  const void* allocation_ = nullptr;
};

}  // namespace

ShardMemory::Tensors ShardMemory::gradients(Ids blocks) {
  Joined out;
  for (const BlockRange& range : arena_.ranges(blocks)) {
    const Tensor sums = gradient(range);
    out.add(sums, queue_.is_cuda() ? arena_.mirror()->allocation_of_sums(range.tensor) : nullptr);
  }
  return out.take();
}

std::vector<Tensor> ShardMemory::gradients_of_ranges(Ids blocks) {
  std::vector<Tensor> out;
  for (const BlockRange& range : arena_.ranges(blocks)) out.push_back(gradient(range));
  return out;
}

/// Integers: in whatever order they come (sum law).
void ShardMemory::add_gradients(Ids blocks, const Tensors& sums) {
  for_pieces(blocks, sums, [&](const Tensor& own, const Tensor& come) {
    kernels::add_fixed_point(queue_, {.addend = come, .sum = own});
  });
}

ShardMemory::Tensors ShardMemory::rounded_gradients(Ids blocks) {
  Tensors out;
  for (const runtime::TensorRef& sums : gradients(blocks)) {
    const kernels::Buffer rounded = kernels::allocate(queue_.device(), kernels::DType::f32, {sums.view.count()});
    kernels::round_sum(queue_, {.sum = sums.view, .rounded = rounded});
    queue_.then([memory = rounded.memory](std::exception_ptr) {});  // also of a message that is never sent
    out.push_back({rounded.view, rounded.memory});
  }
  return out;
}

kernels::Buffer ShardMemory::room_for_rounded(Ids blocks) const {
  int64_t count = 0;
  for (const BlockRange& range : arena_.ranges(blocks)) count += range.count;
  return kernels::allocate(queue_.device(), kernels::DType::f32, {count});
}

kernels::Buffer ShardMemory::rounded_in_one(Ids blocks) {
  const kernels::Buffer out = room_for_rounded(blocks);
  int64_t at = 0;
  for (const Tensor& sums : gradients_of_ranges(blocks)) {
    kernels::round_sum(queue_, {.sum = sums, .rounded = elements(out.view, at, sums.count())});
    at += sums.count();
  }
  return out;
}

void ShardMemory::set_rounded_gradients(Ids blocks, const Tensors& rounded) {
  for_pieces(blocks, rounded, [&](const Tensor& own, const Tensor& come) {
    kernels::set_rounded_sum(queue_, {.sum = own, .rounded = come});
  });
}

ShardMemory::Tensors ShardMemory::ready(Ids blocks, uint64_t state, bool are_whole) {
  Joined out;
  for (const BlockRange& range : arena_.ranges(blocks)) {
    for (const Tensor& part : parts(range, state, are_whole)) {
      const bool may_join = queue_.is_cuda() && !are_whole;
      out.add(part, may_join ? arena_.mirror()->allocation_of_weights(range.tensor, state) : nullptr);
    }
  }
  bring(blocks, state);
  return out.take();
}

/// What the lane is to read of a state and has been made elsewhere.
void ShardMemory::bring(Ids blocks, uint64_t state) {
  if (!queue_.is_cuda()) {
    for (const int64_t id : blocks) arena_.block(id, state);  // what a GPU has made, in an earlier part of the run
    return;
  }
  // Behind whoever makes that state here, if anybody does.
  queue_.run(1, [mirror = arena_.mirror(), ranges = arena_.ranges(blocks), state](int64_t) {
    for (const BlockRange& range : ranges) mirror->bring(range, state);
  });
}

std::vector<Tensor> ShardMemory::weights_of_ranges(Ids blocks, uint64_t state, bool is_made) {
  std::vector<Tensor> out;
  for (const BlockRange& range : arena_.ranges(blocks)) out.push_back(parts(range, state, false)[0]);
  if (is_made) bring(blocks, state);
  return out;
}

void ShardMemory::got_weights(Ids blocks, uint64_t state) { set_stamps(arena_.ranges(blocks), state); }

ShardMemory::Tensors ShardMemory::weights(Ids blocks, uint64_t state) { return ready(blocks, state, false); }

ShardMemory::Tensors ShardMemory::whole(Ids blocks, uint64_t state) { return ready(blocks, state, true); }

size_t ShardMemory::whole_tensors(Ids blocks) const { return parts_of_whole() * arena_.ranges(blocks).size(); }

void ShardMemory::set_weights(Ids blocks, uint64_t state, const Tensors& weights, Taken taken) {
  set_parts(blocks, state, weights, false, taken);
}

void ShardMemory::set_whole(Ids blocks, uint64_t state, const Tensors& parts) {
  set_parts(blocks, state, parts, true, Taken::anyway);
}

/// Weights of neighbouring ranges may have come as one: a tensor for each range.
ShardMemory::Tensors ShardMemory::cut(std::span<const BlockRange> ranges, const Tensors& come) const {
  Tensors out;
  size_t at = 0;
  int64_t used = 0;  // of come[at]
  for (const BlockRange& range : ranges) {
    if (at < come.size() && used == come[at].view.count()) {
      ++at;
      used = 0;
    }
    if (at == come.size() || used + range.count > come[at].view.count()) break;
    out.push_back({elements(come[at].view, used, range.count), come[at].owner});
    used += range.count;
  }
  const bool is_all = out.size() == ranges.size() && at + 1 == come.size() && used == come[at].view.count();
  return is_all ? out : come;  // which do not fit
}

void ShardMemory::set_parts(Ids blocks, uint64_t state, const Tensors& joined, bool are_whole, Taken taken) {
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  const size_t each = are_whole ? parts_of_whole() : 1;
  const Tensors come = are_whole ? joined : cut(ranges, joined);
  expect_to_fit(ranges, come, each);
  const auto is_taken = [&](int64_t id) {
    const uint64_t stands_at = arena_.stamp(id, state);
    return taken == Taken::anyway ? stands_at <= state : stands_at < std::max<uint64_t>(state, 1);
  };
  std::vector<kernels::Buffer> copies;
  std::vector<BlockRange> written;
  for (size_t i = 0; i < ranges.size(); ++i) {
    std::vector<int64_t> ids;
    for (int64_t id = ranges[i].first_block; id < ranges[i].first_block + ranges[i].blocks; ++id) {
      if (is_taken(id)) ids.push_back(id);
    }
    if (ids.empty()) continue;
    Parts from;
    for (size_t part = 0; part < each; ++part) from.push_back(in_reach(come[each * i + part].view, copies));
    for (const BlockRange& range : arena_.ranges(ids)) {
      const Parts to = parts(range, state, are_whole);
      for (size_t part = 0; part < each; ++part) {
        kernels::copy(queue_, {.x = elements(from[part], range.first - ranges[i].first, range.count),
                               .y = to[part]});
      }
      written.push_back(range);
    }
  }
  set_stamps(std::move(written), state);
  if (!copies.empty()) queue_.then([copies = std::move(copies)](std::exception_ptr) {});
}

void ShardMemory::set_stamps(std::vector<BlockRange> written, uint64_t state) {
  const bool is_on_gpu = queue_.is_cuda();
  queue_.run(1, [&arena = arena_, written = std::move(written), state, is_on_gpu](int64_t) {
    for (const BlockRange& range : written) {
      if (is_on_gpu) arena.set_stamp_of_received(range, state);
      for (int64_t id = range.first_block; !is_on_gpu && id < range.first_block + range.blocks; ++id) {
        if (arena.stamp(id, state) <= state) arena.set_stamp(id, state);
      }
    }
  });
}

void ShardMemory::copy_on_host(const runtime::TensorRef& from, const Tensor& to) {
  if (!queue_.is_cuda()) return kernels::copy(queue_, {.x = from.view, .y = to});
  queue_.run(1, [from, to](int64_t) {
    std::memcpy(to.data, from.view.data, static_cast<size_t>(to.count() * kernels::size_of(to.dtype)));
  });
}

}  // namespace troupe::actors
