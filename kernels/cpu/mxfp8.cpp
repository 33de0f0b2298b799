#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/mxfp8.h"

#include "kernels/cpu/tile_codes.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/mxfp8.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

void round_mxfp8(Queue& queue, const RoundMxfp8Args& args) {
  const OperatorLabel label("round_mxfp8");
  const int64_t T = args.x.rows(), K = args.x.cols();
  expect_shape("round_mxfp8 x", args.x, DType::f32, {T, K});
  expect_shape("round_mxfp8 y", args.y, DType::f32, {T, K});
  if (queue.is_cuda()) return cuda::round_mxfp8(queue, args);
  const int64_t parts = part_count(queue, T, K + 1);
  queue.run(parts, [args, T, K, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {  // a tile is of one row
      TROUPE_ISA_CALL(encode_tiles)
      ({.rule = mx_rule,
        .x = values<float>(args.x) + t * args.x.row_stride,
        .x_row = args.x.row_stride,
        .y = values<float>(args.y) + t * args.y.row_stride,
        .y_row = args.y.row_stride,
        .scales = nullptr,
        .rows = 1,
        .cols = K,
        .tile_cols = mx_tile});
    }
  });
}

}  // namespace troupe::kernels

#else

#include "kernels/cpu/tile_codes.inl"

#endif
