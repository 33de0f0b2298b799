// Products of one matrix, in FP8 and BF16, of the linear layers of DeepSeek-V3.
#include <array>
#include <utility>

#include "deploy/bench/kernels/cuda/operands.h"
#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"
#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"

namespace troupe::deploy::kernel_bench {
namespace {

using namespace kernels::cuda;

constexpr int64_t many_rows = 4096;
constexpr std::array<std::pair<int64_t, int64_t>, 6> columns_and_depths{
    {{2112, 7168}, {24576, 1536}, {32768, 512}, {7168, 16384}, {4096, 7168}, {7168, 2048}}};
constexpr std::pair<int64_t, int64_t> largest{7168, 16384};

Case dense_fp8(const PeerLibrary* peers, int64_t M, int64_t N, int64_t K) {
  struct Kept {
    RowOperand a;
    BlockOperand b;
    DeviceArray<uint16_t> c, peers_c;
    DeviceArray<uint8_t> workspace;
  };
  const auto its = std::make_shared<const Kept>(
      Kept{{M, K, 1}, {1, N, K, 2}, DeviceArray<uint16_t>(M * N), DeviceArray<uint16_t>(M * N),
           DeviceArray<uint8_t>(gemm_fp8_workspace_bytes(K))});
  const GemmFp8WgmmaArgs args{.a = its->a.codes.data(),
                              .a_scales = its->a.scales.data(),
                              .a_scales_stride = its->a.stride,
                              .b = its->b.codes.data(),
                              .b_scales = its->b.scales.data(),
                              .b_scales_stride = its->b.stride,
                              .c = its->c.data(),
                              .c_stride = N,
                              .M = M,
                              .N = N,
                              .K = K,
                              .workspace = its->workspace.data()};
  const PeerProduct wanted{.a = args.a,
                           .b = args.b,
                           .c = its->peers_c.data(),
                           .M = M,
                           .N = N,
                           .K = K,
                           .transpose_a = 0,
                           .transpose_b = 1,
                           .operands = PeerType::e4m3,
                           .result = PeerType::bf16,
                           .a_scales = args.a_scales,
                           .b_scales = args.b_scales,
                           .b_tiles = 0,
                           .workspace = nullptr,
                           .workspace_bytes = 0};
  const double scales = 4 * (product({M, K}) / 128 + product({N, K}) / (128 * 128));
  Case made{.shape = by({M, N, K}),
            .flop = 2 * product({M, N, K}),
            .bytes = product({M, K}) + product({N, K}) + scales + 2 * product({M, N}),
            .ours = on_stream([its, args](cudaStream_t stream) { gemm_fp8_wgmma(args, stream); }),
            .peers_call = peer_call(peers, {wanted}, its)};
  if (made.peers_call) {
    made.peer = peers->name();
    made.check = [its, peer = made.peer] { expect_same(its->c, its->peers_c, peer); };
  }
  return made;
}

/// The three products of a linear layer: forward, gradients of inputs, gradients of weights.
enum class Direction { forward, inputs, weights };

Case dense_bf16(const PeerLibrary* peers, Direction direction, int64_t M, int64_t N, int64_t K) {
  struct Kept {
    DeviceArray<uint16_t> a, b, c, peers_c;
    DeviceArray<float> c_f32, peers_c_f32;
  };
  const bool is_f32 = direction == Direction::weights;
  const int64_t narrow = is_f32 ? 0 : M * N, wide = is_f32 ? M * N : 0;
  const auto its = std::make_shared<const Kept>(
      Kept{random_array<uint16_t>(M * K, 3), random_array<uint16_t>(N * K, 4), DeviceArray<uint16_t>(narrow),
           DeviceArray<uint16_t>(narrow), DeviceArray<float>(wide), DeviceArray<float>(wide)});
  const GemmBf16WgmmaArgs args{.a = its->a.data(),
                               .b = its->b.data(),
                               .transpose_a = is_f32,
                               .transpose_b = direction == Direction::forward,
                               .c = is_f32 ? nullptr : its->c.data(),
                               .c_f32 = is_f32 ? its->c_f32.data() : nullptr,
                               .M = M,
                               .N = N,
                               .K = K};
  const PeerProduct wanted{.a = args.a,
                           .b = args.b,
                           .c = is_f32 ? static_cast<void*>(its->peers_c_f32.data()) : its->peers_c.data(),
                           .M = M,
                           .N = N,
                           .K = K,
                           .transpose_a = args.transpose_a,
                           .transpose_b = args.transpose_b,
                           .operands = PeerType::bf16,
                           .result = is_f32 ? PeerType::f32 : PeerType::bf16,
                           .a_scales = nullptr,
                           .b_scales = nullptr,
                           .b_tiles = 0,
                           .workspace = nullptr,
                           .workspace_bytes = 0};
  Case made{.shape = by({M, N, K}),
            .flop = 2 * product({M, N, K}),
            .bytes = 2 * (product({M, K}) + product({N, K})) + (is_f32 ? 4 : 2) * product({M, N}),
            .ours = on_stream([its, args](cudaStream_t stream) { gemm_bf16_wgmma(args, stream); }),
            .peers_call = peer_call(peers, {wanted}, its)};
  if (made.peers_call) {
    made.peer = peers->name();
    made.check = [its, is_f32, peer = made.peer] {
      is_f32 ? expect_same(its->c_f32, its->peers_c_f32, peer) : expect_same(its->c, its->peers_c, peer);
    };
  }
  return made;
}

}  // namespace

void add_dense_cases(std::vector<CaseOf>& cases) {
  const auto add_fp8 = [&](const char* family, int64_t M) {
    for (const auto& [N, K] : columns_and_depths) {
      cases.push_back({family, [=, N = N, K = K](const PeerLibrary* peers) { return dense_fp8(peers, M, N, K); }});
    }
  };
  add_fp8("FP8 dense", many_rows);
  for (const int64_t M : {16, 64, 128}) add_fp8("FP8 few rows", M);
  const auto add_bf16 = [&](const char* family, Direction direction) {
    for (const auto& [N, K] : columns_and_depths) {
      cases.push_back({family, [=, N = N, K = K](const PeerLibrary* peers) {
                         return dense_bf16(peers, direction, many_rows, N, K);
                       }});
    }
  };
  add_bf16("BF16 forward (NT)", Direction::forward);
  add_bf16("BF16 inputs (NN)", Direction::inputs);
  add_bf16("BF16 weights (TN)", Direction::weights);
}

Case largest_bf16_product(const PeerLibrary* peers) {
  return dense_bf16(peers, Direction::forward, many_rows, largest.first, largest.second);
}

Case largest_fp8_product(const PeerLibrary* peers) {
  return dense_fp8(peers, many_rows, largest.first, largest.second);
}

}  // namespace troupe::deploy::kernel_bench
