// The FP8 product for few rows, which is bound by reading b: 64 rows of b stand in the place of a,
// so that the tensor cores waste nothing on rows that are not there. Where K is several chunks,
// the blocks of a cluster take one each and add their sums in the chunks' order.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/gemm/gemm_fp8_tiles.cuh"

namespace troupe::kernels::cuda {

struct Fp8FewRowsArgs {
  int rows;  ///< M
  int cols;  ///< N
  int k_blocks;
  int chunk_blocks;
  void* c;
  int64_t c_stride;
  bool is_f32;  ///< c gets f32 that were rounded to bfloat16
};

constexpr int few_rows_cols = 64;   ///< of c, a block
constexpr int few_rows_pitch = 68;  ///< floats a row of a block's sums: no bank twice

/// A stage holds 128 of K: 64 rows of b, kRows of a and their scales. Each warpgroup multiplies all
/// of b with kRowsEach rows of a.
template <int kRows, int kRowsEach, int kStages, int kBlocksEach>
struct Fp8FewRowsShape {
  static constexpr int rows = kRows;
  static constexpr int stages = kStages;
  static constexpr int blocks_each = kBlocksEach;  ///< of a multiprocessor
  static constexpr int rows_each = kRowsEach;
  static constexpr int warpgroups = kRows / rows_each;
  static constexpr int threads = 128 * warpgroups + 32;
  static constexpr int b_bytes = few_rows_cols * 128;
  static constexpr int stage_bytes = b_bytes + kRows * 128;
  static constexpr int scales_bytes = (kRows + 4) * 4;
  static constexpr int b_scales_at = kRows < 32 ? 128 : kRows * 4;  // copies go to multiples of 128
  static constexpr int scales_stride = b_scales_at + 128;
  static constexpr int bytes = kStages * (stage_bytes + scales_stride + 16);
  static_assert(kRows * few_rows_pitch * 4 <= kStages * stage_bytes);
};

/// A cluster of `chunks` blocks for each 64 columns of c.
template <typename Shape>
__global__ void __launch_bounds__(Shape::threads, Shape::blocks_each)
    fp8_few_rows(const __grid_constant__ CUtensorMap a_map,
                 const __grid_constant__ CUtensorMap b_map,
                 const __grid_constant__ CUtensorMap a_scales_map,
                 const __grid_constant__ CUtensorMap b_scales_map, const Fp8FewRowsArgs args) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t stages = shared_address(memory);
  const uint32_t scales_at = stages + Shape::stages * Shape::stage_bytes;
  const uint32_t full = scales_at + Shape::stages * Shape::scales_stride;
  const uint32_t empty = full + Shape::stages * 8;
  const int chunk = blockIdx.x, chunks = gridDim.x, col = blockIdx.y * few_rows_cols;
  const int begin = chunk * args.chunk_blocks;
  const int end = min(begin + args.chunk_blocks, args.k_blocks);
  const int lane = threadIdx.x % 32, warps = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int warpgroup = warps / 4, warp = warps % 4;
  constexpr int kSums = Shape::rows_each / 2;
  float total[kSums];
#pragma unroll
  for (int i = 0; i < kSums; ++i) total[i] = 0.0f;
  const auto load = [&](int stage, int k) {
    const uint32_t at = stages + stage * Shape::stage_bytes, barrier = full + stage * 8;
    arrive_expecting(barrier, Shape::stage_bytes + Shape::scales_bytes);
    copy_box(at, &b_map, barrier, 128 * k, col);
    copy_box(at + Shape::b_bytes, &a_map, barrier, 128 * k, 0);
    const uint32_t scales = scales_at + stage * Shape::scales_stride;
    copy_box(scales, &a_scales_map, barrier, 0, k);
    copy_box(scales + Shape::b_scales_at, &b_scales_map, barrier, k & ~3, col / 128);
  };

  if (warpgroup == Shape::warpgroups) {
    if (lane == 0) {
      for (int stage = 0; stage < Shape::stages; ++stage) {
        init_barrier(full + stage * 8, 1);
        init_barrier(empty + stage * 8, 4 * Shape::warpgroups);
      }
      publish_barriers();
      for (int stage = 0; stage < Shape::stages; ++stage) {
        if (begin + stage < end) load(stage, begin + stage);
      }
    }
    __syncthreads();
    RingPlace place;  // of what is there already, for the second time round
    for (int k = begin + Shape::stages; k < end; ++k, place.advance(Shape::stages)) {
      wait_barrier(empty + place.stage * 8, place.parity);
      if (lane == 0) load(place.stage, k);
      __syncwarp();
    }
  } else {
    __syncthreads();
    RingPlace place;
    int released = 0;
    float even[kSums], odd[kSums];  // products of even and odd blocks
    float scales[2][Shape::rows_each / 4];
    const auto issue = [&](int k, float(&partial)[kSums], float(&scale)[Shape::rows_each / 4]) {
      wait_barrier(full + place.stage * 8, place.parity);
      const uint32_t stage = stages + place.stage * Shape::stage_bytes;
      const uint64_t b = inner_tile(stage);
      const uint64_t a = inner_tile(stage + Shape::b_bytes + warpgroup * Shape::rows_each * 128);
      begin_products();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        ProductE4m3<Shape::rows_each>::add(partial, b + 2 * step, a + 2 * step, step > 0);
      }
      commit_products();
      const uint32_t at = scales_at + place.stage * Shape::scales_stride;
      const float b_scale = load_shared(at + Shape::b_scales_at + (begin + k) % 4 * 4);
#pragma unroll
      for (int j = 0; j < Shape::rows_each / 8; ++j) {
        const float2 pair =
            load_shared_pair(at + 4 * (warpgroup * Shape::rows_each + 8 * j + 2 * (lane % 4)));
        scale[2 * j] = pair.x * b_scale;
        scale[2 * j + 1] = pair.y * b_scale;
      }
      place.advance(Shape::stages);
    };
    const auto finish = [&](float(&partial)[kSums], float(&scale)[Shape::rows_each / 4]) {
      pin(partial);
      if (lane == 0) arrive(empty + released * 8);
      if (++released == Shape::stages) released = 0;
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        total[i] = __fmaf_rn(partial[i], scale[i / 4 * 2 + i % 2], total[i]);
      }
    };
    const int count = end - begin;
    int k = 0;
    issue(0, even, scales[0]);
    for (; k + 2 < count; k += 2) {
      issue(k + 1, odd, scales[1]);
      wait_products<1>();
      finish(even, scales[0]);
      issue(k + 2, even, scales[0]);
      wait_products<1>();
      finish(odd, scales[1]);
    }
    if (k + 1 < count) {
      issue(k + 1, odd, scales[1]);
      wait_products<1>();
      finish(even, scales[0]);
      wait_products<0>();
      finish(odd, scales[1]);
    } else {
      wait_products<0>();
      finish(even, scales[0]);
    }
  }

  __syncthreads();  // every stage has been read
  auto* sums = reinterpret_cast<float*>(memory);
  if (warpgroup < Shape::warpgroups) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const int row = warpgroup * Shape::rows_each + i / 4 * 8 + 2 * (lane % 4) + i % 2;
      sums[row * few_rows_pitch + 16 * warp + lane / 4 + i / 2 % 2 * 8] = total[i];
    }
  }
  if (chunks > 1) {
    meet_cluster();
  } else {
    __syncthreads();
  }
  constexpr int kParts = few_rows_cols / 4;
  for (int i = threadIdx.x; i < (args.rows - chunk + chunks - 1) / chunks * kParts;
       i += Shape::threads) {
    const int row = chunk + i / kParts * chunks, x = i % kParts * 4;
    const auto* place_of_sum = reinterpret_cast<const float4*>(sums + row * few_rows_pitch + x);
    float4 sum = chunks > 1 ? load_of_block(place_of_sum, 0) : *place_of_sum;
    for (int other = 1; other < chunks; ++other) {
      const float4 next = load_of_block(place_of_sum, other);
      sum = make_float4(sum.x + next.x, sum.y + next.y, sum.z + next.z, sum.w + next.w);
    }
    if (col + x >= args.cols) continue;
    const int64_t at = row * args.c_stride + col + x;
    if (args.is_f32) {
      const float2 low = __bfloat1622float2(__floats2bfloat162_rn(sum.x, sum.y));
      const float2 high = __bfloat1622float2(__floats2bfloat162_rn(sum.z, sum.w));
      *reinterpret_cast<float4*>(static_cast<float*>(args.c) + at) =
          make_float4(low.x, low.y, high.x, high.y);
    } else {
      *reinterpret_cast<uint2*>(static_cast<uint16_t*>(args.c) + at) =
          make_uint2(bf16_pair(sum.x, sum.y), bf16_pair(sum.z, sum.w));
    }
  }
  if (chunks > 1) meet_cluster();  // nobody leaves while its sums may be read
}

}  // namespace troupe::kernels::cuda
