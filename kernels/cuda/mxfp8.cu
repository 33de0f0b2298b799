#include "kernels/ops/mxfp8.h"

#include "kernels/cuda/rounding.h"

namespace troupe::kernels::cuda {

void round_mxfp8(Queue& queue, const RoundMxfp8Args& args) {
  if (args.x.count() == 0) return;
  encode_tiles(queue, {.what = "round_mxfp8",
                       .rule = cpu::mx_rule,
                       .x = args.x,
                       .y = args.y,
                       .scales = {},
                       .tile_rows = 1,
                       .tile_cols = cpu::mx_tile,
                       .bands = {}});
}

}  // namespace troupe::kernels::cuda
