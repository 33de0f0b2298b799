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

/// A tile of rows x cols, of which a thread has (rows / 16) x (cols / 16).
template <int tile_rows, int tile_cols>
struct ProductTile {
  static constexpr int rows = tile_rows, cols = tile_cols;
};

/// A side of a tile among 16 threads: runs of neighbours that each of them has.
template <int side>
struct ProductSide {
  static constexpr int each = side / 16;
  static constexpr int run = each < 4 ? each : 4;
  static constexpr int stride = side + 4;  // of shared memory: columns meet different banks

  /// Which of the side is number i of thread x.
  __device__ static int place(int x, int i) { return i / run * (16 * run) + x * run + i % run; }

  /// This thread's part of a line of a panel.
  __device__ static void read(const float* line, int x, float (&v)[each]) {
    static_assert(run == 4 || run == 2);
#pragma unroll
    for (int i = 0; i < each; i += run) {
      const float* const from = line + place(x, i);
      if constexpr (run == 4) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        v[i] = four.x;
        v[i + 1] = four.y;
        v[i + 2] = four.z;
        v[i + 3] = four.w;
      } else {
        const float2 two = *reinterpret_cast<const float2*>(from);
        v[i] = two.x;
        v[i + 1] = two.y;
      }
    }
  }
};

/// Lines of an operand: element (line, k) at data[line * line_stride + k * k_stride].
struct ProductLines {
  const float* data;
  int64_t line_stride, k_stride;
  int64_t lines, depth;
  bool in_fours;  ///< four neighbours in memory are one access

  __device__ ProductLines(const float* from, int64_t first, int64_t line_step, int64_t k_step,
                          int64_t count, int64_t all)
      : data(from + first * line_step), line_stride(line_step), k_stride(k_step),
        lines(count - first), depth(all) {
    const int64_t apart = k_stride == 1 ? line_stride : k_stride;
    const bool has_neighbours = k_stride == 1 || line_stride == 1;
    in_fours = has_neighbours && apart % 4 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
  }
};

/// This thread's part of a panel [product_depth, side] on its way from memory to the tile.
template <int side>
struct ProductPanel {
  static constexpr int fours = side * product_depth / 4;
  static constexpr int loads = (fours + product_threads - 1) / product_threads;
  float value[loads][4];

  /// Line and k of the first of four; the others are its neighbours in memory.
  __device__ static int2 place(int at, bool k_first) {
    if (k_first) return make_int2(at / (product_depth / 4), at % (product_depth / 4) * 4);
    return make_int2(at % (side / 4) * 4, at / (side / 4));
  }
  __device__ static int number(int i) { return static_cast<int>(threadIdx.x) + i * product_threads; }

  /// From k0 on. What is not there is not read.
  __device__ void load(const ProductLines& from, int64_t k0) {
    const bool k_first = from.k_stride == 1;
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      if (number(i) >= fours) continue;
      const int2 at = place(number(i), k_first);
      const int64_t lines = from.lines - at.x, depth = from.depth - k0 - at.y;
      const float* const data =
          from.data + at.x * from.line_stride + (k0 + at.y) * from.k_stride;
      const int64_t there = k_first ? (lines > 0 ? depth : 0) : (depth > 0 ? lines : 0);
      if (from.in_fours && there >= 4) {
        const float4 four = *reinterpret_cast<const float4*>(data);
        value[i][0] = four.x;
        value[i][1] = four.y;
        value[i][2] = four.z;
        value[i][3] = four.w;
      } else {
        const int64_t step = k_first ? 1 : from.line_stride;
#pragma unroll
        for (int j = 0; j < 4; ++j) value[i][j] = j < there ? data[j * step] : 0.0f;
      }
    }
  }
  __device__ void store(float* panel, bool k_first) const {
    constexpr int stride = ProductSide<side>::stride;
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      if (number(i) >= fours) continue;
      const int2 at = place(number(i), k_first);
      float* const to = panel + at.y * stride + at.x;
      if (k_first) {
#pragma unroll
        for (int j = 0; j < 4; ++j) to[j * stride] = value[i][j];
      } else {
        *reinterpret_cast<float4*>(to) =
            make_float4(value[i][0], value[i][1], value[i][2], value[i][3]);
      }
    }
  }
};

template <class Down, class Across>
__device__ void add_products(const float* a, const float* b, int ty, int tx,
                             float (&sum)[Down::each][Across::each]) {
  float x[Down::each], y[Across::each];
  Down::read(a, ty, x);
  Across::read(b, tx, y);
#pragma unroll
  for (int i = 0; i < Down::each; ++i) {
#pragma unroll
    for (int j = 0; j < Across::each; ++j) sum[i][j] = __fmaf_rn(x[i], y[j], sum[i][j]);
  }
}

__device__ inline float product_scale(const float* scales, int64_t at, int64_t tile, int64_t stride,
                                      int64_t block_stride, int64_t block) {
  return scales[(tile == 1 ? at : at / tile) * stride + block * block_stride];
}

/// The neighbours of a row of c that a thread has.
template <int run>
__device__ void store_run(float* c, const float* value, int64_t there, bool adds) {
  const bool in_fours = run == 4 && there >= 4 && reinterpret_cast<uintptr_t>(c) % 16 == 0;
  if (in_fours && !adds) {
    *reinterpret_cast<float4*>(c) = make_float4(value[0], value[1], value[run - 2], value[run - 1]);
    return;
  }
#pragma unroll
  for (int j = 0; j < run; ++j) {
    if (j < there) c[j] = adds ? __fadd_rn(c[j], value[j]) : value[j];
  }
}

/// Tile (blockIdx.x, blockIdx.y) of c. While a panel of k is multiplied the next is on its way.
template <class Tile, bool promotes>
__device__ void make_tile(const cpu::GemmBlock& g) {
  constexpr int rows = Tile::rows, cols = Tile::cols;
  using Down = ProductSide<rows>;
  using Across = ProductSide<cols>;
  constexpr int down = Down::each, across = Across::each;
  __shared__ __align__(16) float a_panels[2][product_depth * Down::stride];
  __shared__ __align__(16) float b_panels[2][product_depth * Across::stride];
  const int64_t row0 = blockIdx.y * int64_t{rows}, col0 = blockIdx.x * int64_t{cols};
  if (row0 >= g.rows || col0 >= g.cols) return;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int64_t b_col = g.b_transposed ? g.b_stride : 1, b_k = g.b_transposed ? 1 : g.b_stride;
  const ProductLines a(g.a, row0, g.a_row, g.a_k, g.rows, g.depth);
  const ProductLines b(g.b, col0, b_col, b_k, g.cols, g.depth);
  float sum[down][across] = {}, total[promotes ? down : 1][promotes ? across : 1] = {};
  ProductPanel<rows> a_next;
  ProductPanel<cols> b_next;
  const auto load = [&](int64_t k0) {
    a_next.load(a, k0);
    b_next.load(b, k0);
  };
  const auto store = [&](int64_t k0) {
    const int64_t panel = k0 / product_depth % 2;
    a_next.store(a_panels[panel], g.a_k == 1);
    b_next.store(b_panels[panel], b_k == 1);
  };
  load(0);
  store(0);
  __syncthreads();
  for (int64_t k0 = 0; k0 < g.depth; k0 += product_depth) {
    const int64_t next = k0 + product_depth, panel = k0 / product_depth % 2;
    const float *x = a_panels[panel], *y = b_panels[panel];
    if (next < g.depth) load(next);
    if (next <= g.depth) {
#pragma unroll
      for (int k = 0; k < product_depth; ++k) {
        add_products<Down, Across>(x + k * Down::stride, y + k * Across::stride, ty, tx, sum);
      }
    } else {  // zeros behind the last k would turn a sum of -0 into +0
      for (int k = 0; k < static_cast<int>(g.depth - k0); ++k) {
        add_products<Down, Across>(x + k * Down::stride, y + k * Across::stride, ty, tx, sum);
      }
    }
    if (next < g.depth) store(next);
    __syncthreads();
    if constexpr (promotes) {
      if (next % cpu::scale_depth != 0 && next < g.depth) continue;
      const int64_t block = k0 / cpu::scale_depth;
      const cpu::GemmScales& s = g.scales;
      for (int i = 0; i < down; ++i) {
        const int64_t row = min(row0 + Down::place(ty, i), g.rows - 1);
        const float a_scale =
            product_scale(s.a, s.first_row + row, s.a_tile_rows, s.a_row, s.a_block, block);
        for (int j = 0; j < across; ++j) {
          const int64_t col = min(col0 + Across::place(tx, j), g.cols - 1);
          const float b_scale =
              product_scale(s.b, s.first_col + col, s.b_tile_cols, s.b_col, s.b_block, block);
          total[i][j] = __fmaf_rn(sum[i][j], __fmul_rn(a_scale, b_scale), total[i][j]);
          sum[i][j] = 0.0f;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < down; ++i) {
    const int64_t row = row0 + Down::place(ty, i);
    if (row >= g.rows) continue;
#pragma unroll
    for (int j = 0; j < across; j += Across::run) {
      const int64_t col = col0 + Across::place(tx, j);
      const float* value = &sum[i][j];
      if constexpr (promotes) value = &total[i][j];
      store_run<Across::run>(g.c + row * g.c_row + col, value, g.cols - col, g.add);
    }
  }
}

// Two kernels: with one that chose between a list and a parameter, nvcc 13.0 made code that read the
// parameter's fields for the list's.
template <class Tile, bool promotes>
__global__ void __launch_bounds__(product_threads, promotes ? 1 : 2)
    product_kernel(cpu::GemmBlock product) {
  make_tile<Tile, promotes>(product);
}

template <class Tile, bool promotes>
__global__ void __launch_bounds__(product_threads, promotes ? 1 : 2)
    products_kernel(const cpu::GemmBlock* products) {
  const cpu::GemmBlock product = products[blockIdx.z];
  make_tile<Tile, promotes>(product);
}

template <class Tile, bool promotes>
void launch_products(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products) {
  int64_t rows = 0, cols = 0;
  for (const cpu::GemmBlock& g : products) {
    rows = std::max(rows, g.rows);
    cols = std::max(cols, g.cols);
  }
  if (rows == 0 || cols == 0) return;
  const dim3 grid(blocks_for(cols, Tile::cols), blocks_for(rows, Tile::rows),
                  static_cast<unsigned>(products.size()));
  if (products.size() == 1) {
    enqueue(queue, what, [grid, only = products[0]](CUstream_st* stream, Fault*) {
      product_kernel<Tile, promotes><<<grid, product_threads, 0, stream>>>(only);
    });
  } else {
    enqueue(queue, what,
            [grid, list = NearList<cpu::GemmBlock>(products)](CUstream_st* stream, Fault*) {
              products_kernel<Tile, promotes>
                  <<<grid, product_threads, 0, stream>>>(list.bring(stream));
            });
  }
}

/// What tiles of this size make of products.
struct ProductCut {
  int64_t tiles;
  int64_t elements;  ///< computed, those behind the edges of c among them

  ProductCut(const std::vector<cpu::GemmBlock>& products, int64_t rows, int64_t cols) : tiles(0) {
    for (const cpu::GemmBlock& g : products) {
      tiles += ((g.rows + rows - 1) / rows) * ((g.cols + cols - 1) / cols);
    }
    elements = tiles * rows * cols;
  }
};

/// With the largest tiles that give nearly every multiprocessor work and compute little for
/// nothing: none of it shows in the bits.
template <bool promotes>
void launch_products(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products) {
  constexpr int64_t enough = 120;
  const ProductCut least(products, 64, 64);
  const ProductCut large(products, 128, 128);
  const auto with = [&](auto tile) {
    launch_products<decltype(tile), promotes>(queue, what, products);
  };
  if (large.tiles >= enough && large.elements * 4 <= least.elements * 5) {
    return with(ProductTile<128, 128>());
  }
  if (least.tiles >= enough) return with(ProductTile<64, 64>());
  with(ProductTile<32, 32>());
}

}  // namespace troupe::kernels::cuda
