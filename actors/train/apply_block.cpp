#include "actors/train/apply_block.h"

#include "kernels/permute.h"

namespace troupe::actors {

void apply_block(kernels::Queue& queue, runtime::StateArena& arena, const ApplyBlockArgs& args) {
  if (arena.stamp(args.block, args.state) == args.state) return;
  const uint64_t stands_at = arena.stamp(args.block, args.state - 1);
  if (stands_at != args.state - 1) {
    const runtime::Block& block = arena.blocks()[static_cast<size_t>(args.block)];
    throw runtime::StateError("block " + std::to_string(block.index) + " of " +
                              arena.spec(block.tensor).name + " stands at state " +
                              std::to_string(stands_at) + ", wanted " +
                              std::to_string(args.state - 1) + " to apply step " +
                              std::to_string(args.state));
  }
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
    const auto from = before.parts(), to = after.parts();
    for (size_t i = 0; i < from.size(); ++i) kernels::copy(queue, {.x = from[i], .y = to[i]});
  }
  queue.run(1, [&arena, block = args.block, state = args.state](int64_t) {
    arena.set_stamp(block, state);
  });
}

}  // namespace troupe::actors
