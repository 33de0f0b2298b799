#include "kernels/ops/logfmt.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/profile.h"

namespace troupe::kernels {

namespace {

#define TROUPE_SCALAR inline
#include "kernels/math/logfmt_tile.inl"
#undef TROUPE_SCALAR

}  // namespace

void round_logfmt(Queue& queue, const RoundLogfmtArgs& args) {
  const OperatorLabel label("round_logfmt");
  const int64_t T = args.x.rows(), K = args.x.cols();
  if (args.bits < 4 || args.bits > 16) {
    throw KernelError("round_logfmt bits is " + std::to_string(args.bits) + ", wanted 4 to 16");
  }
  expect_shape("round_logfmt x", args.x, DType::f32, {T, K});
  expect_shape("round_logfmt y", args.y, DType::f32, {T, K});
  if (queue.is_cuda()) return cuda::round_logfmt(queue, args);
  const int64_t parts = part_count(queue, T, 100 * K + 1);
  queue.run(parts, [args, T, K, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t first = 0; first < K; first += tile_size) {
        round_tile(values<float>(args.x) + t * args.x.row_stride + first,
                   std::min(tile_size, K - first), args.bits,
                   values<float>(args.y) + t * args.y.row_stride + first);
      }
    }
  });
}

}  // namespace troupe::kernels
