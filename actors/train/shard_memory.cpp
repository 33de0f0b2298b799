#include "actors/train/shard_memory.h"

#include <algorithm>
#include <cstring>
#include <exception>
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

void ShardMemory::for_ranges(Ids blocks, const Tensors& come, const Each& each) {
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  expect_to_fit(ranges, come, 1);
  std::vector<kernels::Buffer> copies;
  for (size_t i = 0; i < ranges.size(); ++i) each(ranges[i], in_reach(come[i].view, copies));
  if (!copies.empty()) queue_.then([copies = std::move(copies)](std::exception_ptr) {});
}

ShardMemory::Tensors ShardMemory::gradients(Ids blocks) {
  Tensors out;
  for (const BlockRange& range : arena_.ranges(blocks)) out.push_back({gradient(range), nullptr});
  return out;
}

/// Integers: in whatever order they come (sum law).
void ShardMemory::add_gradients(Ids blocks, const Tensors& sums) {
  for_ranges(blocks, sums, [&](const BlockRange& range, const Tensor& come) {
    kernels::add_fixed_point(queue_, {.addend = come, .sum = gradient(range)});
  });
}

void ShardMemory::set_gradients(Ids blocks, const Tensors& sums) {
  for_ranges(blocks, sums, [&](const BlockRange& range, const Tensor& come) {
    kernels::copy(queue_, {.x = come, .y = gradient(range)});
  });
}

ShardMemory::Tensors ShardMemory::ready(Ids blocks, uint64_t state, bool are_whole) {
  Tensors out;
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  for (const BlockRange& range : ranges) {
    for (const Tensor& part : parts(range, state, are_whole)) out.push_back({part, nullptr});
  }
  if (!queue_.is_cuda()) {
    for (const int64_t id : blocks) arena_.block(id, state);  // what a GPU has made, in an earlier part of the run
  } else {  // behind whoever makes that state here, if anybody does
    queue_.run(1, [mirror = arena_.mirror(), ranges, state](int64_t) {
      for (const BlockRange& range : ranges) mirror->bring(range, state);
    });
  }
  return out;
}

ShardMemory::Tensors ShardMemory::weights(Ids blocks, uint64_t state) { return ready(blocks, state, false); }

ShardMemory::Tensors ShardMemory::whole(Ids blocks, uint64_t state) { return ready(blocks, state, true); }

size_t ShardMemory::whole_tensors(Ids blocks) const { return parts_of_whole() * arena_.ranges(blocks).size(); }

void ShardMemory::set_weights(Ids blocks, uint64_t state, const Tensors& weights, Taken taken) {
  set_parts(blocks, state, weights, false, taken);
}

void ShardMemory::set_whole(Ids blocks, uint64_t state, const Tensors& parts) {
  set_parts(blocks, state, parts, true, Taken::anyway);
}

void ShardMemory::set_parts(Ids blocks, uint64_t state, const Tensors& come, bool are_whole, Taken taken) {
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  const size_t each = are_whole ? parts_of_whole() : 1;
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
  const auto set_stamps = [&arena = arena_, written, state, is_on_gpu = queue_.is_cuda()](int64_t) {
    for (const BlockRange& range : written) {
      if (is_on_gpu) arena.set_stamp_of_received(range, state);
      for (int64_t id = range.first_block; !is_on_gpu && id < range.first_block + range.blocks; ++id) {
        if (arena.stamp(id, state) <= state) arena.set_stamp(id, state);
      }
    }
  };
  queue_.run(1, set_stamps);
  if (!copies.empty()) queue_.then([copies = std::move(copies)](std::exception_ptr) {});
}

void ShardMemory::copy_on_host(const runtime::TensorRef& from, const Tensor& to) {
  if (!queue_.is_cuda()) return kernels::copy(queue_, {.x = from.view, .y = to});
  queue_.run(1, [from, to](int64_t) {
    std::memcpy(to.data, from.view.data, static_cast<size_t>(to.count() * kernels::size_of(to.dtype)));
  });
}

}  // namespace troupe::actors
