// The tile of a matrix product, for gemm.cu and gemm_fp8.cu. A block of threads has a tile of c,
// each thread some elements of it, in registers from the first k to the last. Law 1: an element is
// one chain of FMAs over k from +0, whatever the tile. `promotes`: a product of codes, where each
// 128 of k is a chain of its own, which is scaled and added to the total.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/gemm.h"

namespace troupe::kernels::cuda {

constexpr int product_threads = 256;
constexpr int product_depth = 16;  // of k that a tile has in shared memory

/// Side of a tile of side x side elements, of which a thread has (side / 16)^2.
template <int side>
struct ProductTile {
  static constexpr int each = side / 16;
  static constexpr int run = each < 4 ? each : 4;  // neighbours in a row of c
  static constexpr int stride = side + 4;          // of shared memory: columns meet different banks
  static constexpr int loads = side * product_depth / product_threads;

  /// Which of the tile's rows or columns is number i of thread x (of 16).
  __device__ static int place(int x, int i) { return i / run * (16 * run) + x * run + i % run; }
};

/// This thread's part of a panel [product_depth, side] on its way from memory to the tile.
template <int side>
struct ProductPanel {
  using Tile = ProductTile<side>;
  float value[Tile::loads];

  /// Element (line, k) at from[line * line_stride + k * k_stride]; neighbours in memory go to
  /// neighbours among the threads. What is not there is not read.
  __device__ void load(const float* from, int64_t line_stride, int64_t k_stride, int64_t lines,
                       int64_t depth) {
#pragma unroll
    for (int i = 0; i < Tile::loads; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * product_threads;
      const int line = k_stride == 1 ? at / product_depth : at % side;
      const int k = k_stride == 1 ? at % product_depth : at / side;
      value[i] = line < lines && k < depth ? from[line * line_stride + k * k_stride] : 0.0f;
    }
  }
  __device__ void store(float* panel, bool k_first) const {
#pragma unroll
    for (int i = 0; i < Tile::loads; ++i) {
      const int at = static_cast<int>(threadIdx.x) + i * product_threads;
      const int line = k_first ? at / product_depth : at % side;
      const int k = k_first ? at % product_depth : at / side;
      panel[k * Tile::stride + line] = value[i];
    }
  }
};

template <int side>
__device__ void add_products(const float* a, const float* b, int ty, int tx,
                             float (&sum)[side / 16][side / 16]) {
  using Tile = ProductTile<side>;
  float x[Tile::each], y[Tile::each];
#pragma unroll
  for (int i = 0; i < Tile::each; ++i) {
    x[i] = a[Tile::place(ty, i)];
    y[i] = b[Tile::place(tx, i)];
  }
#pragma unroll
  for (int i = 0; i < Tile::each; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::each; ++j) sum[i][j] = __fmaf_rn(x[i], y[j], sum[i][j]);
  }
}

__device__ inline float product_scale(const float* scales, int64_t at, int64_t tile, int64_t stride,
                                      int64_t block_stride, int64_t block) {
  return scales[(tile == 1 ? at : at / tile) * stride + block * block_stride];
}

/// Tile (blockIdx.x, blockIdx.y) of c.
template <int side, bool promotes>
__device__ void make_tile(const cpu::GemmBlock& g) {
  using Tile = ProductTile<side>;
  constexpr int each = Tile::each;
  __shared__ __align__(16) float a_panel[product_depth * Tile::stride];
  __shared__ __align__(16) float b_panel[product_depth * Tile::stride];
  const int64_t row0 = blockIdx.y * int64_t{side}, col0 = blockIdx.x * int64_t{side};
  if (row0 >= g.rows || col0 >= g.cols) return;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int64_t b_col = g.b_transposed ? g.b_stride : 1, b_k = g.b_transposed ? 1 : g.b_stride;
  const float* const a = g.a + row0 * g.a_row;
  const float* const b = g.b + col0 * b_col;
  float sum[each][each] = {}, total[promotes ? each : 1][promotes ? each : 1] = {};
  ProductPanel<side> a_next, b_next;
  a_next.load(a, g.a_row, g.a_k, g.rows - row0, g.depth);
  b_next.load(b, b_col, b_k, g.cols - col0, g.depth);
  for (int64_t k0 = 0; k0 < g.depth; k0 += product_depth) {
    a_next.store(a_panel, g.a_k == 1);
    b_next.store(b_panel, b_k == 1);
    __syncthreads();
    const int64_t next = k0 + product_depth;
    if (next < g.depth) {
      a_next.load(a + next * g.a_k, g.a_row, g.a_k, g.rows - row0, g.depth - next);
      b_next.load(b + next * b_k, b_col, b_k, g.cols - col0, g.depth - next);
      const float *x = a_panel, *y = b_panel;
#pragma unroll
      for (int k = 0; k < product_depth; ++k, x += Tile::stride, y += Tile::stride) {
        add_products<side>(x, y, ty, tx, sum);
      }
    } else {  // zeros behind the last k would turn a sum of -0 into +0
      for (int k = 0; k < static_cast<int>(g.depth - k0); ++k) {
        add_products<side>(a_panel + k * Tile::stride, b_panel + k * Tile::stride, ty, tx, sum);
      }
    }
    __syncthreads();
    if constexpr (promotes) {
      if (next % cpu::scale_depth != 0 && next < g.depth) continue;
      const int64_t block = k0 / cpu::scale_depth;
      const cpu::GemmScales& s = g.scales;
      for (int i = 0; i < each; ++i) {
        const int64_t row = min(row0 + Tile::place(ty, i), g.rows - 1);
        const float a_scale =
            product_scale(s.a, s.first_row + row, s.a_tile_rows, s.a_row, s.a_block, block);
        for (int j = 0; j < each; ++j) {
          const int64_t col = min(col0 + Tile::place(tx, j), g.cols - 1);
          const float b_scale =
              product_scale(s.b, s.first_col + col, s.b_tile_cols, s.b_col, s.b_block, block);
          total[i][j] = __fmaf_rn(sum[i][j], __fmul_rn(a_scale, b_scale), total[i][j]);
          sum[i][j] = 0.0f;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int64_t row = row0 + Tile::place(ty, i);
#pragma unroll
    for (int j = 0; j < each; ++j) {
      const int64_t col = col0 + Tile::place(tx, j);
      if (row >= g.rows || col >= g.cols) continue;
      float* const c = g.c + row * g.c_row + col;
      const float value = promotes ? total[promotes ? i : 0][promotes ? j : 0] : sum[i][j];
      *c = g.add ? __fadd_rn(*c, value) : value;
    }
  }
}

// Two kernels: with one that chose between a list and a parameter, nvcc 13.0 made code that read the
// parameter's fields for the list's.
template <int side, bool promotes>
__global__ void __launch_bounds__(product_threads) product_kernel(cpu::GemmBlock product) {
  make_tile<side, promotes>(product);
}

template <int side, bool promotes>
__global__ void __launch_bounds__(product_threads) products_kernel(const cpu::GemmBlock* products) {
  const cpu::GemmBlock product = products[blockIdx.z];
  make_tile<side, promotes>(product);
}

inline int64_t tiles_of(const std::vector<cpu::GemmBlock>& products, int64_t side) {
  int64_t tiles = 0;
  for (const cpu::GemmBlock& g : products) {
    tiles += ((g.rows + side - 1) / side) * ((g.cols + side - 1) / side);
  }
  return tiles;
}

template <int side, bool promotes>
void launch_products(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products) {
  int64_t rows = 0, cols = 0;
  for (const cpu::GemmBlock& g : products) {
    rows = std::max(rows, g.rows);
    cols = std::max(cols, g.cols);
  }
  if (rows == 0 || cols == 0) return;
  const dim3 grid(blocks_for(cols, side), blocks_for(rows, side),
                  static_cast<unsigned>(products.size()));
  if (products.size() == 1) {
    enqueue(queue, what, [grid, only = products[0]](CUstream_st* stream, Fault*) {
      product_kernel<side, promotes><<<grid, product_threads, 0, stream>>>(only);
    });
  } else {
    enqueue(queue, what,
            [grid, list = NearList<cpu::GemmBlock>(products)](CUstream_st* stream, Fault*) {
              products_kernel<side, promotes><<<grid, product_threads, 0, stream>>>(list.bring(stream));
            });
  }
}

/// With the largest tiles that still give every multiprocessor work: none of it shows in the bits.
template <bool promotes>
void launch_products(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products) {
  constexpr int64_t enough = 132;
  if (tiles_of(products, 128) >= enough) {
    launch_products<128, promotes>(queue, what, products);
  } else if (tiles_of(products, 64) >= enough) {
    launch_products<64, promotes>(queue, what, products);
  } else {
    launch_products<32, promotes>(queue, what, products);
  }
}

}  // namespace troupe::kernels::cuda
