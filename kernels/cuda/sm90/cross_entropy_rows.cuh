// Cross entropy of rows that a cluster of blocks has in its registers, and so reads once. Lanes of head_sm90.h are
// shared out: each block has neighbouring ones, columns of all spans of 4,096. Blocks stay; a warp of theirs brings
// the next row by bulk copies while the others compute, and writes the losses.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/cuda/device/lane.cuh"
#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/sigmoid.cuh"
#include "kernels/cuda/device/warp.cuh"
#include "kernels/cuda/sm90/tma.cuh"

namespace troupe::kernels::cuda {

constexpr int row_lanes = 512;           ///< that sum a row, eight neighbouring columns at a time
constexpr int row_span = row_lanes * 8;  ///< columns of all lanes

/// A cluster's row as one of its kBlocks blocks has it. Its threads are groups of as many as it has lanes; each has
/// eight spans of a lane, and a lane's sum goes from group to group.
template <int kBlocks>
struct RowPart {
  static constexpr int blocks = kBlocks, lanes = row_lanes / kBlocks, threads = 256, groups = threads / lanes;
  static constexpr int thread_spans = 8, spans = thread_spans * groups;
  static constexpr int span_bytes = lanes * 8 * 4;
  static constexpr int most_columns = spans * row_span;
  // In shared memory: floats [spans, lanes, 8], which copies fill, then what threads tell each other.
  static constexpr int row = 0, partial = row + spans * span_bytes;
  static constexpr int of_warps = partial + 4 * lanes;  ///< [2, warps]
  // Blocks send each other what they have found of a row, to its place among so many, each with a barrier on which it
  // counts. Who sends a greatest logit of row r has those of row r - 1 from all: the first block has brought row
  // r - 1, before which it took the greatest logits of row r - 3. Who sends a sum of row r has the greatest logits of
  // row r from all: the first block has brought row r, before which it took the sums of row r - 3.
  static constexpr int places = 3;
  static constexpr int most_there = of_warps + 2 * 4 * threads / 32, sum_there = most_there + 8 * places;
  static constexpr int there = sum_there + 8 * places, free = there + 8;
  static constexpr int mosts = free + 8;                    ///< [places, blocks]
  static constexpr int sums = mosts + places * 4 * blocks;  ///< [places, 16], in the first block
  static constexpr int bytes = sums + places * 4 * (row_lanes / 32);

  __device__ static int place(int64_t r) { return static_cast<int>(r % places); }
  __device__ static int mosts_of(int64_t r) { return mosts + 4 * blocks * place(r); }
  __device__ static int most_there_of(int64_t r) { return most_there + 8 * place(r); }
  __device__ static int sums_of(int64_t r) { return sums + 4 * (row_lanes / 32) * place(r); }
  __device__ static int sum_there_of(int64_t r) { return sum_there + 8 * place(r); }
  /// The parity of a row's phase at its place's barriers.
  __device__ static uint32_t turn(int64_t r) { return static_cast<uint32_t>(r / places % 2); }

  /// By one thread, before others are told of it.
  __device__ static void init(uint32_t base) {
    for (int i = 0; i < 2 * places; ++i) init_barrier(base + most_there + 8 * i, 1);
    init_barrier(base + there, 1);
    init_barrier(base + free, threads);
    publish_barriers();
  }

  int V, first;  ///< columns of the row, and the block's first one of a span
  __device__ RowPart(int columns, uint32_t rank) : V(columns), first(static_cast<int>(rank) * lanes * 8) {}

  /// Spans before the last, whose columns are all there, and the columns in the last one.
  __device__ int whole() const { return V / row_span; }
  __device__ int rest() const { return min(max(V % row_span - first, 0), lanes * 8); }
  /// Of a lane.
  __device__ int spans_of(int lane) const { return whole() + (8 * lane < rest() ? 1 : 0); }

  /// The block's part of the row that begins at `from`, to shared memory at `base`. By a warp.
  __device__ void bring(uint32_t base, const float* from, int lane) const {
    const int columns = whole() * lanes * 8 + rest();
    if (lane == 0) arrive_expecting(base + there, 4 * static_cast<uint32_t>(columns));
    __syncwarp();
    for (int i = lane; i <= whole(); i += 32) {
      const int bytes = i < whole() ? span_bytes : 4 * rest();
      if (bytes == 0) continue;
      copy_bytes(base + row + static_cast<uint32_t>(i * span_bytes), from + i * row_span + first,
                 static_cast<uint32_t>(bytes), base + there);
    }
  }
};

/// x = exp(x - most), rounded as lane_math.inl does it; none is above `most`.
__device__ inline void exp_below(float (&x)[8], float most) {
  // No difference is negative, and one that is no number is the GPU's own NaN: they compare as integers do.
  int32_t furthest = 0;
#pragma unroll
  for (float& one : x) {
    one = __fsub_rn(most, one);
    furthest = max(furthest, __float_as_int(one));
  }
  if (furthest <= __float_as_int(near_limit)) {
#pragma unroll
    for (float& one : x) one = exp_near(-one);
  } else {
#pragma unroll
    for (float& one : x) one = exp(set1(-one)).v;
  }
}

/// A block's computing thread.
template <class Part>
class RowSum {
 public:
  __device__ RowSum(const Part& part, uint32_t base, uint32_t rank)
      : base_(base),
        rank_(rank),
        lane_(thread_ % Part::lanes),
        group_(thread_ / Part::lanes),
        spans_(min(max(part.spans_of(lane_) - Part::thread_spans * group_, 0), Part::thread_spans)) {}

  __device__ void run(int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) {
      const float most = greatest(r, take(r));
#pragma unroll
      for (int i = 0; i < Part::thread_spans; ++i) {
        if (i < spans_) exp_below(x_[i], most);
      }
      add(r);
    }
  }

 private:
  /// Reads a row, so that the next one may come. Its greatest logit, of the thread's.
  __device__ float take(int64_t r) {
    float most = -std::numeric_limits<float>::infinity();
    const int first = Part::thread_spans * group_ * Part::span_bytes + 32 * lane_;
    const uint32_t from = base_ + Part::row + static_cast<uint32_t>(first);
    wait_barrier(base_ + Part::there, static_cast<uint32_t>(r % 2));
#pragma unroll
    for (int i = 0; i < Part::thread_spans; ++i) {
      if (i >= spans_) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 four = load_shared_four(from + static_cast<uint32_t>(i * Part::span_bytes + 16 * half));
        x_[i][4 * half] = four.x, x_[i][4 * half + 1] = four.y;
        x_[i][4 * half + 2] = four.z, x_[i][4 * half + 3] = four.w;
      }
#pragma unroll
      for (const float one : x_[i]) most = fmaxf(most, one);
    }
    arrive(base_ + Part::free);
    return most;
  }

  /// Of all blocks' threads.
  __device__ float greatest(int64_t r, float most) const {
    constexpr int warps = Part::threads / 32;
    most = greatest_of_warp(most);
    // By turns, so that a meeting is between reading a place and writing it anew.
    const uint32_t of_warps = base_ + Part::of_warps + 4 * warps * static_cast<uint32_t>(r % 2);
    if (thread_ % 32 == 0) store_shared_word(of_warps + 4 * (thread_ / 32), __float_as_uint(most));
    meet_threads(1, Part::threads);
    const uint32_t there = base_ + Part::most_there_of(r), mosts = base_ + Part::mosts_of(r);
    if (thread_ < 32) {
      most = greatest_of_warp(load_shared(of_warps + 4 * (thread_ % warps)));
      if (thread_ == 0) arrive_expecting(there, 4 * Part::blocks);
      if (thread_ < Part::blocks) send_to(mosts + 4 * rank_, most, there, static_cast<uint32_t>(thread_));
    }
    wait_barrier(there, Part::turn(r));
    return greatest_of_warp(load_shared(mosts + 4 * (thread_ % Part::blocks)));
  }

  /// Lanes' sums from group to group; the last tells the first block.
  __device__ void add(int64_t r) const {
    constexpr int last = Part::groups - 1;
#pragma unroll
    for (int g = 0; g < Part::groups; ++g) {
      if (group_ == g) {
        float sum = g == 0 ? 0.0f : load_shared(base_ + Part::partial + 4 * lane_);
#pragma unroll
        for (int i = 0; i < Part::thread_spans; ++i) {
          if (i >= spans_) continue;
#pragma unroll
          for (const float one : x_[i]) sum = __fadd_rn(sum, one);
        }
        if (g < last) {
          store_shared_word(base_ + Part::partial + 4 * lane_, __float_as_uint(sum));
        } else {
          sum = sum_of_lanes(sum, 32);
          const uint32_t its = rank_ * (Part::lanes / 32) + static_cast<uint32_t>(lane_ / 32);
          if (thread_ % 32 == 0) send_to(base_ + Part::sums_of(r) + 4 * its, sum, base_ + Part::sum_there_of(r), 0);
        }
      }
      if (g < last) meet_threads(1, Part::threads);
    }
  }

  const int thread_ = static_cast<int>(threadIdx.x);
  uint32_t base_, rank_;
  int lane_, group_, spans_;
  float x_[Part::thread_spans][8];
};

/// What the last warp of a block does: brings rows, and in the first block calls finish(row, greatest logit, sum of
/// exp(logit - greatest)) in one thread, while the next row is summed.
template <class Part, class Finish>
__device__ void bring_rows(const Part& part, uint32_t base, uint32_t rank, const Rows<const float>& logits,
                           int64_t first, int64_t step, int64_t rows, const Finish& finish) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (rows > 0) part.bring(base, logits[first], lane);
  float most = 0.0f;
  for (int64_t r = 0; r <= rows; ++r) {
    if (r + 1 < rows) {
      wait_barrier(base + Part::free, static_cast<uint32_t>(r % 2));
      part.bring(base, logits[first + (r + 1) * step], lane);
    }
    if (rank != 0) continue;
    if (r > 0) {
      const uint32_t sum_there = base + Part::sum_there_of(r - 1);
      if (lane == 0) arrive_expecting(sum_there, 4 * row_lanes / 32);
      __syncwarp();
      wait_barrier(sum_there, Part::turn(r - 1));
      const float sum = sum_of_lanes(load_shared(base + Part::sums_of(r - 1) + 4 * (lane % 16)), 16);
      if (lane == 0) finish(first + (r - 1) * step, most, sum);
      __syncwarp();
    }
    if (r == rows) continue;
    wait_barrier(base + Part::most_there_of(r), Part::turn(r));
    most = greatest_of_warp(load_shared(base + Part::mosts_of(r) + 4 * (lane % Part::blocks)));
  }
}

/// Rows of `logits` [T, V] in whole aligned eights, V at most most_columns; kBlocks blocks are a cluster.
template <int kBlocks, class Finish>
__global__ void __launch_bounds__(RowPart<kBlocks>::threads + 32, 2)
    kept_rows_kernel(Rows<const float> logits, int64_t T, int V, Finish finish) {
  using Part = RowPart<kBlocks>;
  extern __shared__ __align__(128) char memory[];
  const uint32_t base = shared_address(memory), rank = cluster_rank();
  const int64_t first = blockIdx.x / kBlocks, step = gridDim.x / kBlocks;
  const int64_t rows = first < T ? (T - first + step - 1) / step : 0;
  const Part part(V, rank);
  if (threadIdx.x == 0) Part::init(base);
  meet_cluster();
  if (threadIdx.x < Part::threads) {
    RowSum<Part>(part, base, rank).run(rows);
  } else {
    bring_rows(part, base, rank, logits, first, step, rows, finish);
  }
  meet_cluster();  // nobody leaves while the others may still send to it
}

}  // namespace troupe::kernels::cuda
