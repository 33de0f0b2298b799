#include "kernels/cuda/gemm/matrices_fp8.h"

#include <algorithm>

#include "kernels/cuda/gemm/products.cuh"
#include "kernels/cuda/sm90/quantize_sm90.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int64_t tile = 128;

int64_t tiles(int64_t n) { return tiles_over(n, tile); }

/// A place for the codes of `groups` matrices, stored as [rows, cols], cols already in sixteens;
/// `turned`: of their transposes.
Fp8Blocks place_of(Scratch& scratch, int64_t groups, int64_t rows, int64_t cols, bool turned) {
  Fp8Blocks out;
  out.N = turned ? cols : up_to(rows, 16);
  out.K = turned ? up_to(rows, 16) : cols;
  out.codes = scratch.of(DType::f8_e4m3, {groups * out.N, out.K});
  out.scales = scratch.f32({groups * tiles(out.N), up_to(tiles(out.K), 4)});
  return out;
}

/// Where the codes of those from `g` on go.
struct BlocksFrom {
  uint8_t* codes = nullptr;
  float* scales = nullptr;
  int64_t stride = 0;

  BlocksFrom(const Fp8Blocks* blocks, int64_t g) {
    if (blocks == nullptr) return;
    codes = values<uint8_t>(blocks->codes) + g * blocks->N * blocks->K;
    scales = values<float>(blocks->scales) + g * tiles(blocks->N) * blocks->scales.cols();
    stride = blocks->scales.cols();
  }
};

/// Matrices of one shape, as they lie and turned; of either there may be no place.
class BlockWriter {
 public:
  BlockWriter(Queue& queue, Scratch& scratch, const Fp8Matrices& matrices, const Fp8Blocks* straight,
              const Fp8Blocks* turned)
      : queue_(queue), scratch_(scratch), matrices_(matrices), straight_(straight), turned_(turned) {}

  /// `offsets`: those without rows may not be there to be read; none: all are.
  void write(const std::vector<int64_t>& offsets) const {
    const std::vector<ConstTensor>& b = matrices_.b;
    const auto groups = static_cast<int64_t>(b.size());
    const auto can_be_read = [](const ConstTensor& one) {
      return is_bf16_operand(one) && one.cols() % 16 == 0;
    };
    const bool have_rows =
        std::adjacent_find(offsets.begin(), offsets.end()) == offsets.end();
    const int64_t rows = b[0].rows();
    if (groups > 1 && have_rows && rows % tile == 0 && std::all_of(b.begin(), b.end(), can_be_read) &&
        rows_between(b) == rows) {
      return quantize(b[0], 0, groups);
    }
    for (int64_t g = 0; g < groups; ++g) {
      const auto at = static_cast<size_t>(g);
      if (!offsets.empty() && offsets[at] == offsets[at + 1]) continue;
      quantize(fp8_source(queue_, scratch_, b[at]), g, 1);
    }
  }

 private:
  void quantize(const ConstTensor& w, int64_t g, int64_t count) const {
    const BlocksFrom straight(straight_, g), turned(turned_, g);
    const QuantizeBlocksSm90Args args{.w = values<uint16_t>(w),
                                      .w_stride = w.row_stride,
                                      .groups = static_cast<int>(count),
                                      .N = matrices_.b[0].rows(),
                                      .K = w.cols(),
                                      .power_of_two = matrices_.scaling.power_of_two,
                                      .least_amax = matrices_.scaling.least_amax,
                                      .codes = straight.codes,
                                      .scales = straight.scales,
                                      .scales_stride = straight.stride,
                                      .transposed = turned.codes,
                                      .transposed_scales = turned.scales,
                                      .transposed_scales_stride = turned.stride};
    enqueue(queue_, "quantize_fp8_blocks",
            [args](CUstream_st* stream, Fault*) { quantize_blocks_sm90(args, stream); });
  }

  Queue& queue_;
  Scratch& scratch_;
  const Fp8Matrices& matrices_;
  const Fp8Blocks* const straight_;
  const Fp8Blocks* const turned_;
};

Fp8Blocks place_of(Scratch& scratch, const Fp8Matrices& matrices, bool turned) {
  const ConstTensor& first = matrices.b[0];
  return place_of(scratch, static_cast<int64_t>(matrices.b.size()), first.rows(),
                  up_to(first.cols(), 16), turned);
}

}  // namespace

ConstTensor fp8_source(Queue& queue, Scratch& scratch, const ConstTensor& x) {
  if (is_bf16_operand(x) && x.cols() % 16 == 0) return x;
  const Tensor to = scratch.of(DType::bf16, {x.rows(), up_to(x.cols(), 16)});
  pack_to(queue, x, values<uint16_t>(to), to.cols());
  return to;
}

Fp8Blocks quantize_matrices(Queue& queue, Scratch& scratch, const Fp8Matrices& matrices,
                            const std::vector<int64_t>& offsets) {
  const OperatorLabel label("quantize_matrices");
  const Fp8Blocks blocks = place_of(scratch, matrices, !matrices.transpose);
  const BlockWriter writer(queue, scratch, matrices, matrices.transpose ? &blocks : nullptr,
                           matrices.transpose ? nullptr : &blocks);
  writer.write(offsets);
  return blocks;
}

Fp8BothWays quantize_both_ways(Queue& queue, Scratch& scratch, const Fp8Matrices& matrices) {
  const OperatorLabel label("quantize_both_ways");
  const Fp8BothWays both{place_of(scratch, matrices, false), place_of(scratch, matrices, true)};
  BlockWriter(queue, scratch, matrices, &both.forward, &both.backward).write({});
  return both;
}

}  // namespace troupe::kernels::cuda
