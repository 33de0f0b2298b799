#include "kernels/ops/pack.h"

#include <array>
#include <string>

#include "kernels/ops/quantize.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

namespace troupe::kernels {
namespace {

const std::array<float, 256>& e4m3_numbers() {
  static const std::array<float, 256> numbers = [] {
    std::array<float, 256> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = f8_e4m3_to_f32(static_cast<uint8_t>(i));
    return table;
  }();
  return numbers;
}

/// Throws unless it is one of the formats that rows travel in.
void expect_packed(const char* what, const ConstTensor& t, int64_t R, int64_t D) {
  expect_shape(what, t, t.dtype == DType::bf16 ? DType::bf16 : DType::f8_e4m3, {R, D});
}

void pack_row(const float* x, const Tensor& y, int64_t r, int64_t D) {
  if (y.dtype == DType::bf16) {
    uint16_t* out = values<uint16_t>(y) + r * y.row_stride;
    for (int64_t i = 0; i < D; ++i) out[i] = f32_to_bf16(x[i]);
  } else {
    uint8_t* out = values<uint8_t>(y) + r * y.row_stride;
    for (int64_t i = 0; i < D; ++i) out[i] = f32_to_f8_e4m3(x[i]);
  }
}

void unpack_row(const ConstTensor& x, float* y, int64_t r, int64_t D) {
  if (x.dtype == DType::bf16) {
    const uint16_t* in = values<uint16_t>(x) + r * x.row_stride;
    for (int64_t i = 0; i < D; ++i) y[i] = bf16_to_f32(in[i]);
  } else {
    const auto& numbers = e4m3_numbers();
    const uint8_t* in = values<uint8_t>(x) + r * x.row_stride;
    for (int64_t i = 0; i < D; ++i) y[i] = numbers[in[i]];
  }
}

}  // namespace

void pack_rows(Queue& queue, const PackRowsArgs& args) {
  const OperatorLabel label("pack_rows");
  const int64_t R = args.x.rows(), D = args.x.cols();
  expect_shape("pack_rows x", args.x, DType::f32, {R, D});
  expect_packed("pack_rows y", args.y, R, D);
  if (queue.is_cuda()) return cuda::pack_rows(queue, args);
  const int64_t parts = part_count(queue, R, 4 * D);
  queue.run(parts, [args, R, D, parts](int64_t part) {
    const auto [begin, end] = part_range(R, parts, part);
    for (int64_t r = begin; r < end; ++r) {
      pack_row(values<float>(args.x) + r * args.x.row_stride, args.y, r, D);
    }
  });
}

void unpack_rows(Queue& queue, const UnpackRowsArgs& args) {
  const OperatorLabel label("unpack_rows");
  const int64_t R = args.x.rows(), D = args.x.cols();
  expect_packed("unpack_rows x", args.x, R, D);
  expect_shape("unpack_rows y", args.y, DType::f32, {R, D});
  if (args.tile < 1) {
    throw KernelError("unpack_rows tile is " + std::to_string(args.tile) + ", wanted at least 1");
  }
  if (args.scales.data) {
    expect_shape("unpack_rows scales", args.scales, DType::f32, {R, tiles_over(D, args.tile)});
  }
  if (queue.is_cuda()) return cuda::unpack_rows(queue, args);
  const int64_t parts = part_count(queue, R, 4 * D);
  queue.run(parts, [args, R, D, parts](int64_t part) {
    const auto [begin, end] = part_range(R, parts, part);
    for (int64_t r = begin; r < end; ++r) {
      float* y = values<float>(args.y) + r * args.y.row_stride;
      unpack_row(args.x, y, r, D);
      if (!args.scales.data) continue;
      const float* scales = values<float>(args.scales) + r * args.scales.row_stride;
      for (int64_t i = 0; i < D; ++i) y[i] *= scales[i / args.tile];
    }
  });
}

}  // namespace troupe::kernels
