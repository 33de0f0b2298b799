#include "kernels/cuda/gemm/products_fp8.h"

#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"
#include "kernels/cuda/gemm/products.cuh"
#include "kernels/ops/permute.h"
#include "kernels/ops/rounding.h"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int64_t tile = 128;

/// Groups of rows; tables of several alone.
Fp8Groups groups_of(Queue& queue, Scratch& scratch, const std::vector<int64_t>& offsets) {
  if (offsets.size() > 2) return fp8_groups(queue, scratch, offsets);
  return {offsets, nullptr, nullptr, tiles_over(offsets.back(), tile)};
}

/// c as the product writes it.
void launch_product(Queue& queue, Scratch& scratch, const MultiplyCodesFp8Args& x, const Tensor& c) {
  const Fp8Rows& a = x.a;
  const Fp8Blocks& b = x.b;
  const Fp8Groups& groups = x.groups;
  const bool is_grouped = groups.count() > 1;
  const int64_t bytes = gemm_fp8_workspace_bytes(b.K);
  const GroupedGemmFp8WgmmaArgs args{
      .a = values<uint8_t>(a.codes),
      .a_scales = values<float>(a.scales),
      .a_scales_stride = a.scales.cols(),
      .b = values<uint8_t>(b.codes),
      .b_scales = values<float>(b.scales),
      .b_scales_stride = b.scales.cols(),
      .result = c.dtype == DType::bf16 ? ProductResult::bf16 : ProductResult::f32_of_bf16,
      .c = c.data,
      .c_stride = c.row_stride,
      .R = a.codes.rows(),
      .N = b.N,
      .K = b.K,
      .groups = static_cast<int>(groups.count()),
      .row_begin = is_grouped ? groups.rows : nullptr,
      .row_end = is_grouped ? groups.rows + 1 : nullptr,
      .workspace = bytes > 0 ? scratch.of(DType::f8_e4m3, {bytes}).data : nullptr,
      .promotes = x.promotes};
  enqueue(queue, "multiply_fp8",
          [args](CUstream_st* stream, Fault*) { grouped_gemm_fp8_wgmma(args, stream); });
}

/// How many sums each group has.
int64_t parts_of(const std::vector<GradientSum>& into, int64_t groups, int64_t M) {
  const auto sums = static_cast<int64_t>(into.size());
  const int64_t parts = groups > 0 ? sums / groups : 0;
  if (parts < 1 || parts * groups != sums || M % parts != 0 || (parts > 1 && M / parts % tile != 0)) {
    throw KernelError("add_weights_fp8 has " + std::to_string(sums) + " sums for " +
                      std::to_string(groups) + " groups of " + std::to_string(M) +
                      " columns, wanted as many for each group, of a multiple of 128 columns");
  }
  return parts;
}

/// Where each sum's group has its rows, were they one behind the other.
std::vector<int64_t> offsets_of_sums(const std::vector<int64_t>& offsets, int64_t parts) {
  std::vector<int64_t> out{0};
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    for (int64_t part = 0; part < parts; ++part) {
      out.push_back(out.back() + offsets[g + 1] - offsets[g]);
    }
  }
  return out;
}

/// Units of [M, N] on their way to `parts` sums a group.
class WeightUnits {
 public:
  WeightUnits(Queue& queue, Scratch& scratch, const std::vector<GradientSum>& into,
              const std::vector<int64_t>& offsets, int64_t M, int64_t N, bool promotes)
      : queue_(queue), scratch_(scratch), M_(M), width_(up_to(N, 2)), promotes_(promotes),
        parts_(parts_of(into, static_cast<int64_t>(offsets.size()) - 1, M)),
        offsets_(offsets_of_sums(offsets, parts_)),
        units_(queue, scratch, "add_weights_fp8", into, offsets_, M / parts_, N, width_) {}

  void add(const Fp8Columns& a, const Fp8Columns& b, const Fp8Groups& groups) const {
    GroupedWeightsFp8WgmmaArgs product{
        .a = values<uint8_t>(a.codes),
        .a_scales = values<float>(a.scales),
        .a_scales_stride = a.scales.row_stride,
        .b = values<uint8_t>(b.codes),
        .b_scales = values<float>(b.scales),
        .b_scales_stride = b.scales.row_stride,
        .M = M_,
        .N = width_,
        .R = tile * groups.blocks_in_all,
        .groups = static_cast<int>(groups.count()),
        .block_offsets = groups.blocks,
        .c = units_.are_direct() ? nullptr : static_cast<float*>(units_.results()[0]),
        .sums = nullptr,
        .parts = static_cast<int>(parts_),
        .fixed = units_.rule(),
        .promotes = promotes_};
    std::vector<int64_t*> sums;
    for (void* const result : units_.results()) sums.push_back(static_cast<int64_t*>(result));
    const Tensor near = scratch_.of(DType::i64, {static_cast<int64_t>(sums.size())});
    if (units_.are_direct()) product.sums = reinterpret_cast<int64_t* const*>(near.data);
    enqueue(queue_, "add_weights_fp8",
            [product, to = near.data, list = SharedList<int64_t*>(sums),
             bytes = sums.size() * sizeof(int64_t*)](CUstream_st* stream, Fault*) {
              check(cudaMemcpyAsync(to, list.data(), bytes, cudaMemcpyDefault, stream),
                    "add_weights_fp8");
              grouped_weights_fp8_wgmma(product, stream);
            });
    units_.finish();
  }

 private:
  Queue& queue_;
  Scratch& scratch_;
  const int64_t M_, width_;
  const bool promotes_;
  const int64_t parts_;
  const std::vector<int64_t> offsets_;
  const UnitsOfGroups units_;
};

}  // namespace

void multiply_fp8(Queue& queue, Scratch& scratch, const MultiplyFp8Args& args) {
  const OperatorLabel label("multiply_fp8");
  const int64_t R = args.a.rows(), K = args.a.cols(), N = args.c.cols();
  if (R == 0 || args.b.b.empty()) return;
  for (const ConstTensor& b : args.b.b) {
    expect_shape("multiply_fp8 b", b, b.dtype,
                 {args.b.transpose ? N : K, args.b.transpose ? K : N});
  }
  const Fp8Blocks b = quantize_matrices(queue, scratch, args.b, args.offsets);
  const Fp8Rows a = quantize_rows(queue, scratch, fp8_source(queue, scratch, args.a), args.a_scaling);
  multiply_fp8(queue, scratch,
               {.a = a, .b = b, .groups = groups_of(queue, scratch, args.offsets), .c = args.c,
                .promotes = args.promotes});
}

void multiply_fp8(Queue& queue, Scratch& scratch, const MultiplyCodesFp8Args& args) {
  const OperatorLabel label("multiply_fp8");
  const int64_t R = args.a.codes.rows(), N = args.c.cols();
  expect_shape("multiply_fp8 c", args.c, args.c.dtype, {R, N});
  expect_reachable("multiply_fp8 c", args.c, Device::cuda);
  if (R == 0) return;
  expect_shape("multiply_fp8 a", args.a.codes, DType::f8_e4m3, {R, args.b.K});
  expect_shape("multiply_fp8 b", args.b.codes, DType::f8_e4m3, {args.groups.count() * args.b.N, args.b.K});
  const bool is_direct = args.b.N == N && fits_as_result(args.c, args.c.dtype == DType::bf16 ? 8 : 4);
  const Tensor c = is_direct ? args.c : scratch.of(args.c.dtype, {R, args.b.N});
  launch_product(queue, scratch, args, c);
  if (!is_direct) kernels::copy(queue, {.x = columns(c, 0, N), .y = args.c});
}

void add_weights_fp8(Queue& queue, Scratch& scratch, const MultiplyWeightsFp8Args& args) {
  const OperatorLabel label("add_weights_fp8");
  if (args.into.empty()) return;
  expect_shape("add_weights_fp8 b", args.b, args.b.dtype, {args.a.rows(), args.b.cols()});
  const WeightUnits units(queue, scratch, args.into, args.offsets, args.a.cols(), args.b.cols(),
                          args.promotes);
  if (args.a.rows() == 0) return;
  const Fp8Groups groups = fp8_groups(queue, scratch, args.offsets);
  const auto columns_of = [&](const ConstTensor& x, const Fp8Scaling& scaling) {
    return quantize_columns(queue, scratch, fp8_source(queue, scratch, x), scaling, groups);
  };
  const Fp8Columns a = columns_of(args.a, args.a_scaling);
  units.add(a, columns_of(args.b, args.b_scaling), groups);
}

void add_weights_fp8(Queue& queue, Scratch& scratch, const WeightsCodesFp8Args& args) {
  const OperatorLabel label("add_weights_fp8");
  if (args.into.empty()) return;
  const WeightUnits units(queue, scratch, args.into, args.groups.offsets, args.a.codes.rows(),
                          args.b.codes.rows(), args.promotes);
  if (args.groups.offsets.back() > 0) units.add(args.a, args.b, args.groups);
}

}  // namespace troupe::kernels::cuda
