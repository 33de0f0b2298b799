// FP8 products of experts: forward beside our dense product of as many rows, gradients of weights beside the peer's
// products one after the other.
#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "deploy/bench/kernels/cuda/operands.h"
#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"
#include "kernels/ops/fixed_point.h"

namespace troupe::deploy::kernel_bench {
namespace {

using namespace kernels::cuda;

struct GroupedShape {
  int64_t groups, rows, N, K;  ///< `rows` of each group
};
struct WeightsShape {
  int64_t groups, M, N, rows;
};

/// `capacity` rows of each group are there, of which the first `rows` are used.
Case grouped(const GroupedShape& x, int64_t capacity) {
  struct Kept {
    RowOperand a;
    BlockOperand b;
    DeviceArray<uint16_t> c;
    DeviceArray<uint8_t> workspace;
    DeviceArray<int32_t> begin, end;
  };
  const int64_t R = x.groups * capacity, used = x.groups * x.rows;
  std::vector<int32_t> begin, end;
  for (int64_t g = 0; g < x.groups; ++g) {
    begin.push_back(static_cast<int32_t>(g * capacity));
    end.push_back(static_cast<int32_t>(g * capacity + x.rows));
  }
  const auto its = std::make_shared<const Kept>(
      Kept{{R, x.K, 1}, {x.groups, x.N, x.K, 2}, DeviceArray<uint16_t>(R * x.N),
           DeviceArray<uint8_t>(gemm_fp8_workspace_bytes(x.K)), DeviceArray<int32_t>(begin),
           DeviceArray<int32_t>(end)});
  const GroupedGemmFp8WgmmaArgs args{.a = its->a.codes.data(),
                                     .a_scales = its->a.scales.data(),
                                     .a_scales_stride = its->a.stride,
                                     .b = its->b.codes.data(),
                                     .b_scales = its->b.scales.data(),
                                     .b_scales_stride = its->b.stride,
                                     .c = its->c.data(),
                                     .c_stride = x.N,
                                     .R = R,
                                     .N = x.N,
                                     .K = x.K,
                                     .groups = static_cast<int>(x.groups),
                                     .row_begin = its->begin.data(),
                                     .row_end = its->end.data(),
                                     .workspace = its->workspace.data()};
  const GemmFp8WgmmaArgs dense{.a = args.a,
                               .a_scales = args.a_scales,
                               .a_scales_stride = args.a_scales_stride,
                               .b = args.b,
                               .b_scales = args.b_scales,
                               .b_scales_stride = args.b_scales_stride,
                               .c = args.c,
                               .c_stride = x.N,
                               .M = used,
                               .N = x.N,
                               .K = x.K,
                               .workspace = args.workspace};
  return {.shape = std::to_string(x.groups) + " of " + by({x.rows, x.N, x.K}),
          .flop = 2 * product({used, x.N, x.K}),
          .bytes = product({used, x.K}) + product({x.groups, x.N, x.K}) + 2 * product({used, x.N}),
          .ours = on_stream([its, args](cudaStream_t stream) { grouped_gemm_fp8_wgmma(args, stream); }),
          .peer = "our dense",
          .peers_call = on_stream([its, dense](cudaStream_t stream) { gemm_fp8_wgmma(dense, stream); })};
}

/// Result in f32, or added to fixed-point sums; the peer's is in f32 either way.
Case weights(const PeerLibrary* peers, const WeightsShape& x, bool is_fixed) {
  struct Kept {
    RowOperand a, b;
    DeviceArray<float> c, peers_c;
    DeviceArray<int64_t> sums;
    DeviceArray<int64_t*> sum_of_group;
    DeviceArray<int32_t> block_offsets;
    DeviceArray<uint32_t> faults;
  };
  const int64_t M = x.M, N = x.N, R = x.groups * x.rows, count = x.groups * M * N;
  const auto sums = DeviceArray<int64_t>::zeros(is_fixed ? count : 0);
  std::vector<int64_t*> sum_of_group;
  std::vector<int32_t> offsets;
  for (int64_t g = 0; g <= x.groups; ++g) {
    offsets.push_back(static_cast<int32_t>(g * x.rows / 128));
    if (g < x.groups) sum_of_group.push_back(sums.data() + (is_fixed ? g * M * N : 0));
  }
  const auto its = std::make_shared<const Kept>(
      Kept{{M, R, 5}, {N, R, 6}, DeviceArray<float>(is_fixed ? 0 : count), DeviceArray<float>(count), sums,
           DeviceArray<int64_t*>(sum_of_group), DeviceArray<int32_t>(offsets), DeviceArray<uint32_t>::zeros(1)});
  constexpr int scale_bits = 40;  // so that the sums of all rounds stay within 64 bits
  const kernels::FixedPointRange range = kernels::fixed_point_range(scale_bits, 1);
  const GroupedWeightsFp8WgmmaArgs args{
      .a = its->a.codes.data(),
      .a_scales = its->a.scales.data(),
      .a_scales_stride = its->a.stride,
      .b = its->b.codes.data(),
      .b_scales = its->b.scales.data(),
      .b_scales_stride = its->b.stride,
      .M = M,
      .N = N,
      .R = R,
      .groups = static_cast<int>(x.groups),
      .block_offsets = its->block_offsets.data(),
      .c = is_fixed ? nullptr : its->c.data(),
      .sums = is_fixed ? its->sum_of_group.data() : nullptr,
      .parts = 1,
      .fixed = {range.scale, range.bound, its->faults.data(), false, false}};
  std::vector<PeerProduct> wanted;
  for (int64_t g = 0; g < x.groups; ++g) {  // each of operands of its own, as a loop over experts has them
    wanted.push_back({.a = its->a.codes.data() + g * M * x.rows,
                      .b = its->b.codes.data() + g * N * x.rows,
                      .c = its->peers_c.data() + g * M * N,
                      .M = M,
                      .N = N,
                      .K = x.rows,
                      .transpose_a = 0,
                      .transpose_b = 1,
                      .operands = PeerType::e4m3,
                      .result = PeerType::f32,
                      .a_scales = its->a.scales.data() + g * x.rows / 128 * its->a.stride,
                      .b_scales = its->b.scales.data() + g * x.rows / 128 * its->b.stride,
                      .b_tiles = 1,
                      .workspace = nullptr,
                      .workspace_bytes = 0});
  }
  Case made{.shape = std::to_string(x.groups) + " of " + by({M, N, x.rows}),
            .flop = 2 * product({M, N, R}),
            .bytes = product({M, R}) + product({N, R}) + (is_fixed ? 16 : 4) * static_cast<double>(count),
            .ours = on_stream([its, args](cudaStream_t stream) { grouped_weights_fp8_wgmma(args, stream); }),
            .peers_call = peer_call(peers, wanted, its)};
  if (made.peers_call) made.peer = peers->name();
  if (is_fixed) {
    made.check = [its] {
      if (const uint32_t found = its->faults.part(0, 1)[0]; found != 0) {
        throw std::runtime_error(fmt::format("fixed-point sums have the faults {:#x}, wanted none", found));
      }
    };
  } else if (made.peers_call && x.groups == 1) {  // of more groups the peer's operands are others
    made.check = [its, peer = made.peer] { expect_same(its->c, its->peers_c, peer); };
  }
  return made;
}

}  // namespace

void add_grouped_cases(std::vector<CaseOf>& cases) {
  for (const GroupedShape& x : std::array<GroupedShape, 4>{
           {{4, 8192, 4096, 7168}, {4, 8192, 7168, 2048}, {8, 4096, 4096, 7168}, {8, 4096, 7168, 2048}}}) {
    cases.push_back({"FP8 contiguous", [x](const PeerLibrary*) { return grouped(x, x.rows); }});
  }
  for (const GroupedShape& x : std::array<GroupedShape, 4>{
           {{6, 1024, 4096, 7168}, {6, 1024, 7168, 2048}, {32, 192, 4096, 7168}, {32, 192, 7168, 2048}}}) {
    cases.push_back({"FP8 masked", [x](const PeerLibrary*) { return grouped(x, up_to(x.rows + x.rows / 4, 128)); }});
  }
  for (const bool is_fixed : {false, true}) {
    for (const WeightsShape& x : std::array<WeightsShape, 4>{
             {{1, 4096, 7168, 8192}, {4, 4096, 7168, 8192}, {4, 7168, 2048, 8192}, {8, 4096, 7168, 4096}}}) {
      cases.push_back({is_fixed ? "FP8 weights, fixed point" : "FP8 weights",
                       [x, is_fixed](const PeerLibrary* peers) { return weights(peers, x, is_fixed); }});
    }
  }
}

}  // namespace troupe::deploy::kernel_bench
