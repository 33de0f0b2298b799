#include "actors/train/apply_block.h"

#include <array>
#include <utility>

#include "kernels/ops/permute.h"
#include "runtime/state/gpu_mirror.h"

namespace troupe::actors {
namespace {

/// Throws StateError, with the text that what_for() makes, unless the block stands at the state.
template <class Text>
void check_state(const runtime::StateArena& arena, int64_t id, uint64_t state, Text what_for) {
  const uint64_t stands_at = arena.stamp(id, state);
  if (stands_at == state) return;
  const runtime::Block& block = arena.blocks()[static_cast<size_t>(id)];
  throw runtime::StateError("block " + std::to_string(block.index) + " of " +
                            arena.spec(block.tensor).name + " stands at state " +
                            std::to_string(stands_at) + ", wanted " + std::to_string(state) + " to " +
                            what_for());
}

void expect_before(const runtime::StateArena& arena, int64_t id, uint64_t state) {
  check_state(arena, id, state - 1, [state] { return "apply step " + std::to_string(state); });
}

template <class F>
void for_blocks(const runtime::BlockRange& range, F f) {
  for (int64_t id = range.first_block; id < range.first_block + range.blocks; ++id) f(id);
}

/// Those of the range that are not at the state yet; throws unless they stand before it. Most often
/// all of it.
void add_unapplied(const runtime::StateArena& arena, const runtime::BlockRange& range, uint64_t state,
                   std::vector<runtime::BlockRange>& to) {
  const bool is_before = arena.blocks_at(range, state - 1) == range.blocks;
  if (is_before && arena.blocks_at(range, state) == 0) return to.push_back(range);
  std::vector<int64_t> unapplied;
  for_blocks(range, [&](int64_t id) {
    if (arena.stamp(id, state) == state) return;
    expect_before(arena, id, state);
    unapplied.push_back(id);
  });
  const std::vector<runtime::BlockRange> parts = arena.ranges(unapplied);
  to.insert(to.end(), parts.begin(), parts.end());
}

/// Of a step that is skipped. A part that the state does not have has no data.
void copy_parts(kernels::Queue& queue, const std::array<kernels::Tensor, 4>& from,
                const std::array<kernels::Tensor, 4>& to) {
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i].data == nullptr) continue;
    kernels::copy(queue, {.x = from[i], .y = to[i]});
  }
}

}  // namespace

void expect_state(kernels::Queue& queue, const runtime::StateArena& arena,
                  std::vector<runtime::BlockRange> ranges, uint64_t state, std::string what_for) {
  if (ranges.empty()) return;
  queue.run(1, [&arena, ranges = std::move(ranges), state, what_for = std::move(what_for)](int64_t) {
    for (const runtime::BlockRange& range : ranges) {
      if (arena.blocks_at(range, state) == range.blocks) continue;
      for_blocks(range, [&](int64_t id) { check_state(arena, id, state, [&] { return what_for; }); });
    }
  });
}

void apply_block(kernels::Queue& queue, runtime::StateArena& arena, const ApplyBlockArgs& args) {
  if (arena.stamp(args.block, args.state) == args.state) return;
  expect_before(arena, args.block, args.state);
  const runtime::BlockState before = arena.block(args.block, args.state - 1);
  const runtime::BlockState after = arena.block(args.block, args.state);
  if (args.apply) {
    kernels::adamw(queue, {.step = args.adamw, .weight_decay = args.weight_decay,
                           .gradient = arena.block_gradient(args.block),
                           .scale_bits = args.scale_bits, .weight = before.weight,
                           .moment1 = before.moment1, .moment2 = before.moment2,
                           .new_weight = after.weight, .new_moment1 = after.moment1,
                           .new_moment2 = after.moment2});
    if (arena.format().has_ema) {
      kernels::update_ema(queue, {.rate = args.ema_rate, .weight = after.weight,
                                  .ema = before.ema, .new_ema = after.ema});
    }
  } else {
    copy_parts(queue, before.parts(), after.parts());
  }
  queue.run(1, [&arena, block = args.block, state = args.state](int64_t) {
    arena.set_stamp(block, state);
  });
}

void apply_ranges(kernels::Queue& queue, runtime::StateArena& arena, const ApplyRangesArgs& args) {
  std::vector<runtime::BlockRange> ranges;
  for (const runtime::BlockRange& range : args.ranges) add_unapplied(arena, range, args.state, ranges);
  std::vector<kernels::AdamWArgs> updates;
  std::vector<kernels::UpdateEmaArgs> averages;
  size_t at_once = 32;  // the GPU begins with these while the host lists the next, twice as many
  const auto enqueue = [&] {
    kernels::adamw_blocks(queue, std::exchange(updates, {}));
    for (const kernels::UpdateEmaArgs& average : std::exchange(averages, {})) kernels::update_ema(queue, average);
  };
  for (const runtime::BlockRange& range : ranges) {
    const runtime::GpuMirror::Update update = arena.mirror()->update(range, args.state);
    const auto& [weight, moment1, moment2, ema] = update.before;
    if (args.apply) {
      updates.push_back({.step = args.adamw, .weight_decay = args.weight_decay(range.tensor),
                         .gradient = arena.mirror()->gradient_of(queue, range),
                         .scale_bits = args.scale_bits, .weight = weight, .moment1 = moment1,
                         .moment2 = moment2, .new_weight = update.after[0],
                         .new_moment1 = update.after[1], .new_moment2 = update.after[2],
                         .new_bf16 = update.bf16});
      if (ema.data != nullptr) {
        averages.push_back({.rate = args.ema_rate, .weight = update.after[0], .ema = ema,
                            .new_ema = update.after[3]});
      }
    } else {
      copy_parts(queue, update.before, update.after);
    }
    if (updates.size() < at_once) continue;
    enqueue();
    at_once *= 2;
  }
  enqueue();
  queue.launch([&arena, ranges, state = args.state](const kernels::GpuLane&) {
    for (const runtime::BlockRange& range : ranges) arena.set_stamp_of_gpu(range, state);
  });
}

}  // namespace troupe::actors
