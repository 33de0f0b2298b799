#include "actors/train/shard_memory.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

#include "kernels/fixed_point.h"
#include "kernels/permute.h"

namespace troupe::actors {
namespace {

using kernels::Device;
using kernels::Tensor;
using runtime::BlockRange;

Tensor elements(const Tensor& all, int64_t first, int64_t count) {
  Tensor part = all;
  part.data = static_cast<char*>(all.data) + first * kernels::size_of(all.dtype);
  part.shape = {count};
  part.row_stride = count;
  return part;
}

}  // namespace

Tensor ShardMemory::gradient(const BlockRange& range) {
  return queue_.is_cuda() ? arena_.mirror()->gradient_of(queue_, range) : arena_.range_gradient(range);
}

Tensor ShardMemory::weight(const BlockRange& range, uint64_t state) {
  return queue_.is_cuda() ? arena_.mirror()->weights(range, state) : arena_.host_weights(range, state);
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

void ShardMemory::for_ranges(Ids blocks, const Tensors& come, const Each& each) {
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  const auto fits = [](const BlockRange& range, const runtime::TensorRef& tensor) {
    return range.count == tensor.view.count();
  };
  if (!std::equal(ranges.begin(), ranges.end(), come.begin(), come.end(), fits)) {
    throw runtime::StateError("found " + std::to_string(come.size()) + " tensors, wanted those of " +
                              std::to_string(ranges.size()) + " ranges of " +
                              std::to_string(blocks.size()) + " blocks");
  }
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

ShardMemory::Tensors ShardMemory::weights(Ids blocks, uint64_t state) {
  Tensors out;
  const std::vector<BlockRange> ranges = arena_.ranges(blocks);
  for (const BlockRange& range : ranges) out.push_back({weight(range, state), nullptr});
  if (!queue_.is_cuda()) {
    for (const int64_t id : blocks) arena_.block(id, state);  // what a GPU has made, in an earlier part of the run
  } else {  // behind whoever makes that state here, if anybody does
    queue_.run(1, [mirror = arena_.mirror(), ranges, state](int64_t) {
      for (const BlockRange& range : ranges) mirror->bring(range, state);
    });
  }
  return out;
}

void ShardMemory::set_weights(Ids blocks, uint64_t state, const Tensors& weights) {
  std::vector<BlockRange> written;
  for_ranges(blocks, weights, [&](const BlockRange& range, const Tensor& come) {
    std::vector<int64_t> missing;
    for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) {
      if (arena_.stamp(id, state) < std::max<uint64_t>(state, 1)) missing.push_back(id);
    }
    for (const BlockRange& part : arena_.ranges(missing)) {
      kernels::copy(queue_, {.x = elements(come, part.first - range.first, part.count),
                             .y = weight(part, state)});
      written.push_back(part);
    }
  });
  const auto set_stamps = [&arena = arena_, written, state, is_on_gpu = queue_.is_cuda()](int64_t) {
    for (const BlockRange& range : written) {
      if (is_on_gpu) arena.set_stamp_of_weights(range, state);
      for (int64_t id = range.first_block; !is_on_gpu && id < range.first_block + range.blocks; ++id) {
        if (arena.stamp(id, state) < state) arena.set_stamp(id, state);
      }
    }
  };
  queue_.run(1, set_stamps);
}

void ShardMemory::copy_on_host(const runtime::TensorRef& from, const Tensor& to) {
  if (!queue_.is_cuda()) return kernels::copy(queue_, {.x = from.view, .y = to});
  queue_.run(1, [from, to](int64_t) {
    std::memcpy(to.data, from.view.data, static_cast<size_t>(to.count() * kernels::size_of(to.dtype)));
  });
}

}  // namespace troupe::actors
