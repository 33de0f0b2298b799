// What attention's forward and backward share: products of 64 x 64 tiles whose every element is one
// FMA chain, made by the 256 threads of a block. Thread (y, x) of 16 x 16 has rows 4 y to 4 y + 3.
#pragma once

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"

namespace troupe::kernels::cuda {

constexpr int attention_threads = 256;
constexpr int attention_side = 64;      // rows of a tile, and keys
constexpr int attention_columns = 128;  // of what a block makes: wider outputs take several blocks
constexpr int attention_depth = 16;     // of a product, in shared memory at a time
constexpr int attention_half = 32;      // rows of the second product's operand in shared memory

/// Shared memory of a block.
struct AttentionMemory {
  float a[attention_depth * (attention_side + 4)];
  float b[attention_depth * (attention_side + 4)];
  float tile[attention_side * (attention_side + 1)];  // probabilities, or gradients of scores
  float rows[attention_half * attention_columns];     // values, queries, ...
};

__device__ inline int attention_y() { return static_cast<int>(threadIdx.x) / 16; }
__device__ inline int attention_x() { return static_cast<int>(threadIdx.x) % 16; }

/// sum[i][j] = a_of(4 y + i) . b_of(4 x + j), chains over `depth` from +0. `a_of` and `b_of` give a
/// row's first element, null for a row that is not there.
template <class A, class B>
__device__ void attention_scores(AttentionMemory& memory, A a_of, B b_of, int depth,
                                 float (&sum)[4][4]) {
  constexpr int stride = attention_side + 4;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) sum[i][j] = 0.0f;
  }
  const int ty = attention_y(), tx = attention_x();
  for (int k0 = 0; k0 < depth; k0 += attention_depth) {
    const int k = attention_x();  // neighbours in memory
    __syncthreads();
    for (int line = attention_y(); line < attention_side; line += 16) {
      const float *a = a_of(line), *b = b_of(line);
      memory.a[k * stride + line] = a && k0 + k < depth ? a[k0 + k] : 0.0f;
      memory.b[k * stride + line] = b && k0 + k < depth ? b[k0 + k] : 0.0f;
    }
    __syncthreads();
    const int last = min(attention_depth, depth - k0);
    for (int d = 0; d < last; ++d) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = memory.a[d * stride + 4 * ty + i];
        y[i] = memory.b[d * stride + 4 * tx + i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = __fmaf_rn(x[i], y[j], sum[i][j]);
      }
    }
  }
}

/// out[i][j] += factor(4 y + i, c) * row c's column x + 16 j, c ascending from 0 to `count`, where
/// is_seen(4 y + i, c): what is outside never meets the chain. `row_of(c)` gives the first of
/// `cols` columns.
template <class Row, class Factor, class Seen>
__device__ void attention_add(AttentionMemory& memory, int count, int cols, bool all_seen,
                              Row row_of, Factor factor, Seen is_seen, float (&out)[4][8]) {
  const int ty = attention_y(), tx = attention_x();
  for (int first = 0; first < count; first += attention_half) {
    const int n = min(attention_half, count - first);
    __syncthreads();
    for (int at = static_cast<int>(threadIdx.x); at < n * attention_columns;
         at += attention_threads) {
      const int c = at / attention_columns, col = at % attention_columns;
      memory.rows[at] = col < cols ? row_of(first + c)[col] : 0.0f;
    }
    __syncthreads();
    for (int c = 0; c < n; ++c) {
      float row[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) row[j] = memory.rows[c * attention_columns + tx + 16 * j];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (!all_seen && !is_seen(4 * ty + i, first + c)) continue;
        const float x = factor(4 * ty + i, first + c);
#pragma unroll
        for (int j = 0; j < 8; ++j) out[i][j] = __fmaf_rn(x, row[j], out[i][j]);
      }
    }
  }
}

}  // namespace troupe::kernels::cuda
