// RMSNorm of whole rows in one reading. Blocks stay; each keeps the weight in shared memory, and each of its warps
// has a place there for a row, which a bulk copy fills. A row goes on in registers, so that the next one is on its
// way while this one is computed and written.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device/bf16_pair.cuh"
#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/warp.cuh"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

template <class X, class Y>
struct NormRows {
  Rows<const X> xs;     ///< [T, D], f32 or bf16
  const float* weight;  ///< [D]
  float eps;
  Rows<Y> ys;       ///< out: [T, D], f32 or bf16
  float* inverses;  ///< out: [T]
  int64_t T;
  int D;
};

/// Eight neighbours of a row in shared memory, as they lie there.
template <class X>
struct Eight {
  uint4 words[sizeof(X) / 2];

  /// `apart`: bytes between its sixteens.
  __device__ void load(uint32_t address, int apart = 16) {
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(X) / 2); ++i) words[i] = load_shared_words(address + apart * i);
  }
  __device__ void unpack(float (&v)[neighbours]) const {
    if constexpr (sizeof(X) == 2) {
      cuda::unpack(words[0], v);
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        v[4 * i] = __uint_as_float(words[i].x);
        v[4 * i + 1] = __uint_as_float(words[i].y);
        v[4 * i + 2] = __uint_as_float(words[i].z);
        v[4 * i + 3] = __uint_as_float(words[i].w);
      }
    }
  }
};

/// What a block of `warps` warps needs: the weight, a row a warp, and two barriers a warp.
template <class X>
struct NormMemory {
  int D, warps;
  __host__ __device__ constexpr int row_bytes() const { return D * static_cast<int>(sizeof(X)); }
  __host__ __device__ constexpr int row(int warp) const { return 4 * D + warp * row_bytes(); }
  __host__ __device__ constexpr int barriers(int warp) const { return row(warps) + 16 * warp; }
  __host__ __device__ constexpr int bytes() const { return barriers(warps); }
};

/// kEights: eights of columns of a lane.
template <int kEights, int kWarps, class X, class Y>
__global__ void __launch_bounds__(32 * kWarps, 1) norm_rows_kernel(const NormRows<X, Y> args) {
  extern __shared__ __align__(16) char memory[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const NormMemory<X> places{args.D, kWarps};
  const uint32_t base = shared_address(memory), row = base + places.row(warp);
  const uint32_t there = base + places.barriers(warp), free = there + 8;
  // First fours of all eights, then second ones: lanes that read neighbouring eights meet no bank twice.
  const auto* const fours = reinterpret_cast<const float4*>(args.weight);
  const int eights = args.D / neighbours;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * eights; i += 32 * kWarps) {
    reinterpret_cast<float4*>(memory)[i % 2 * eights + i / 2] = __ldg(fours + i);
  }
  if (lane == 0) {
    init_barrier(there, 1);
    init_barrier(free, 32);
    publish_barriers();
  }
  __syncthreads();
  const auto bring = [&](int64_t t) {
    arrive_expecting(there, static_cast<uint32_t>(places.row_bytes()));
    copy_bytes(row, args.xs[t], static_cast<uint32_t>(places.row_bytes()), there);
  };
  // Few rows go to as many blocks as there are.
  const int64_t first = int64_t{warp} * gridDim.x + blockIdx.x, step = int64_t{kWarps} * gridDim.x;
  if (lane == 0 && first < args.T) bring(first);
  uint32_t parity = 0;
  for (int64_t t = first; t < args.T; t += step, parity ^= 1) {
    Eight<X> x[kEights];
    float sum = 0.0f;
    wait_barrier(there, parity);
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      const int column = (i * 32 + lane) * neighbours;
      if (column >= args.D) continue;
      x[i].load(row + column * static_cast<int>(sizeof(X)));
      float v[neighbours];
      x[i].unpack(v);
#pragma unroll
      for (int j = 0; j < neighbours; ++j) sum = __fmaf_rn(v[j], v[j], sum);
    }
    arrive(free);
    if (lane == 0 && t + step < args.T) {
      wait_barrier(free, parity);
      bring(t + step);
    }
    const float mean = __fdiv_rn(sum_of_warp(sum), static_cast<float>(args.D));
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, args.eps)));
    if (lane == 0) args.inverses[t] = inverse;
    Y* const y = args.ys[t];
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      const int column = (i * 32 + lane) * neighbours;
      if (column >= args.D) continue;
      Eight<float> weight;
      weight.load(base + 2 * column, 16 * eights);
      float v[neighbours], w[neighbours];
      x[i].unpack(v);
      weight.unpack(w);
#pragma unroll
      for (int j = 0; j < neighbours; ++j) w[j] = __fmul_rn(__fmul_rn(v[j], inverse), w[j]);
      store_row<true>(y + column, neighbours, w);
    }
  }
}

template <int kEights, int kWarps, class X, class Y>
void launch_norm_rows(const NormRows<X, Y>& args, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(args.T, multiprocessors));
  static_assert(NormMemory<X>{kEights * 32 * neighbours, kWarps}.bytes() <= most_shared_bytes);
  launch("rms_norm", norm_rows_kernel<kEights, kWarps, X, Y>, dim3(blocks), 32 * kWarps,
         NormMemory<X>{args.D, kWarps}.bytes(), 0, stream, args);
}

/// The greatest width whose rows stay in registers.
constexpr int64_t most_norm_columns = int64_t{28} * 32 * neighbours;

/// Writes ys and inverses, of rows in whole aligned eights, D at most most_norm_columns. Warps a block: as many as find
/// registers for their rows, and places for them.
template <class X, class Y>
void norm_rows(const NormRows<X, Y>& args, cudaStream_t stream) {
  constexpr int each = 32 * neighbours;
  if (args.D <= 4 * each) return launch_norm_rows<4, 24>(args, stream);
  if (args.D <= 8 * each) return launch_norm_rows<8, sizeof(X) == 4 ? 16 : 20>(args, stream);
  if (args.D <= 16 * each) return launch_norm_rows<16, sizeof(X) == 4 ? 10 : 16>(args, stream);
  launch_norm_rows<28, sizeof(X) == 4 ? 7 : 12>(args, stream);
}

}  // namespace troupe::kernels::cuda
