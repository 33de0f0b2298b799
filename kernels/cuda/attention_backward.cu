#include "kernels/cuda/attention/attention_tiles.cuh"
#include "kernels/ops/attention.h"

namespace troupe::kernels::cuda {
namespace {

struct BackwardShape {
  Rows<const float> o_gradient, q, k, v, log_sums;
  const float* deltas;  // [T, H]: do . o
  Rows<float> q_gradient, k_gradient, v_gradient;
  int S, heads, key_heads, dqk, dv;
  float scale;
};

/// One head of one sequence.
struct BackwardHead {
  const BackwardShape& s;
  int64_t first;  // row of the sequence
  int head, key_head;

  __device__ const float* q(int r) const { return s.q[first + r] + head * s.dqk; }
  __device__ const float* k(int r) const { return s.k[first + r] + key_head * s.dqk; }
  __device__ const float* v(int r) const { return s.v[first + r] + key_head * s.dv; }
  __device__ const float* o_gradient(int r) const { return s.o_gradient[first + r] + head * s.dv; }
  __device__ float log_sum(int r) const { return s.log_sums[first + r][head]; }
  __device__ float delta(int r) const { return s.deltas[(first + r) * s.heads + head]; }
};

/// memory.tile[query][key] of queries from i and keys from j on: probabilities p, or with
/// `of_scores` the gradients p * (do . v - delta) * scale. What lies behind a query's own position
/// is left undefined: nobody reads it.
__device__ void gradient_tile(AttentionMemory& memory, const BackwardHead& h, int i, int j,
                              bool of_scores) {
  const int S = h.s.S;
  float score[4][4], product[4][4];
  attention_scores(
      memory, [&](int r) { return i + r < S ? h.q(i + r) : nullptr; },
      [&](int c) { return j + c < S ? h.k(j + c) : nullptr; }, h.s.dqk, score);
  if (of_scores) {
    attention_scores(
        memory, [&](int r) { return i + r < S ? h.o_gradient(i + r) : nullptr; },
        [&](int c) { return j + c < S ? h.v(j + c) : nullptr; }, h.s.dv, product);
  }
  const F16 scale = set1(h.s.scale);
  for (int a = 0; a < 4; ++a) {
    const int r = 4 * attention_y() + a;
    if (i + r >= S) continue;
    const F16 log_sum = set1(h.log_sum(i + r)), delta = set1(h.delta(i + r));
    for (int b = 0; b < 4; ++b) {
      const int c = 4 * attention_x() + b;
      const F16 p = exp(set1(score[a][b]) * scale - log_sum);
      memory.tile[r * (attention_side + 1) + c] =
          of_scores ? (p * (set1(product[a][b]) - delta) * scale).v : p.v;
    }
  }
  __syncthreads();
}

__device__ void write_tile(const float (&out)[4][8], Rows<float> to, int64_t first_row, int rows,
                           int64_t first_column, int columns) {
  for (int i = 0; i < 4; ++i) {
    const int r = 4 * attention_y() + i;
    if (r >= rows) continue;
    for (int j = 0; j < 8; ++j) {
      const int c = attention_x() + 16 * j;
      if (c < columns) to[first_row + r][first_column + c] = out[i][j];
    }
  }
}

/// A tile of keys: up to 128 columns of its dv or of its dk. Chains go over the heads of the key,
/// and in each over the queries from the key's own position on.
__global__ void __launch_bounds__(attention_threads) keys_kernel(BackwardShape s, int v_slices) {
  __shared__ AttentionMemory memory;
  const int tiles = (s.S + attention_side - 1) / attention_side;
  const int64_t first = blockIdx.x / tiles * int64_t{s.S};
  const int j = static_cast<int>(blockIdx.x % tiles) * attention_side;
  const int key_head = static_cast<int>(blockIdx.y), together = s.heads / s.key_heads;
  const int slice = static_cast<int>(blockIdx.z);
  const bool of_scores = slice >= v_slices;  // dk
  const int first_column = (of_scores ? slice - v_slices : slice) * attention_columns;
  const int width = of_scores ? s.dqk : s.dv;
  const int columns = min(attention_columns, width - first_column);
  float out[4][8] = {};
  for (int head = key_head * together; head < (key_head + 1) * together; ++head) {
    const BackwardHead h{s, first, head, key_head};
    for (int i = j; i < s.S; i += attention_side) {
      gradient_tile(memory, h, i, j, of_scores);
      attention_add(
          memory, min(attention_side, s.S - i), columns, i > j,
          [&](int r) { return (of_scores ? h.q(i + r) : h.o_gradient(i + r)) + first_column; },
          [&](int c, int r) { return memory.tile[r * (attention_side + 1) + c]; },
          [&](int c, int r) { return j + c <= i + r; }, out);
    }
  }
  write_tile(out, of_scores ? s.k_gradient : s.v_gradient, first + j, min(attention_side, s.S - j),
             int64_t{key_head} * width + first_column, columns);
}

/// A tile of queries of one head: up to 128 columns of its dq. Chains go over the keys.
__global__ void __launch_bounds__(attention_threads) queries_kernel(BackwardShape s) {
  __shared__ AttentionMemory memory;
  const int tiles = (s.S + attention_side - 1) / attention_side;
  const int64_t first = blockIdx.x / tiles * int64_t{s.S};
  const int i = static_cast<int>(blockIdx.x % tiles) * attention_side;
  const int head = static_cast<int>(blockIdx.y);
  const BackwardHead h{s, first, head, head / (s.heads / s.key_heads)};
  const int first_column = static_cast<int>(blockIdx.z) * attention_columns;
  const int columns = min(attention_columns, s.dqk - first_column);
  float out[4][8] = {};
  for (int j = 0; j <= i; j += attention_side) {
    gradient_tile(memory, h, i, j, true);
    attention_add(
        memory, min(attention_side, s.S - j), columns, j < i,
        [&](int c) { return h.k(j + c) + first_column; },
        [&](int r, int c) { return memory.tile[r * (attention_side + 1) + c]; },
        [&](int r, int c) { return j + c <= i + r; }, out);
  }
  write_tile(out, s.q_gradient, first + i, min(attention_side, s.S - i),
             int64_t{head} * s.dqk + first_column, columns);
}

}  // namespace

/// Probabilities are made again for every 128 columns of an output: simple, not fast.
void attention_backward(Queue& queue, const AttentionBackwardArgs& args) {
  const int64_t T = args.q.rows(), H = args.heads, S = args.sequence_rows;
  if (T == 0) return;
  const int dv = static_cast<int>(args.o.cols() / H), dqk = static_cast<int>(args.q.cols() / H);
  const Buffer deltas = allocate(Device::cuda, DType::f32, {T, H});
  const auto o_gradient = rows_of<float>("attention_backward do", args.do_);
  const auto o = rows_of<float>("attention_backward o", args.o);
  float* const delta = values<float>(deltas.view);
  for_each_row(queue, "attention_backward", T * H,
               [=] __device__(int64_t at, int lane, bool mine, Fault*) {
                 const int64_t t = at / H, column = at % H * dv;
                 const float sum = dot(o_gradient[t] + column, o[t] + column, dv, lane);
                 if (mine && lane == 0) delta[at] = sum;
               });
  const BackwardShape shape{o_gradient,
                            rows_of<float>("attention_backward q", args.q),
                            rows_of<float>("attention_backward k", args.k),
                            rows_of<float>("attention_backward v", args.v),
                            rows_of<float>("attention_backward log_sums", args.log_sums),
                            delta,
                            rows_of<float>("attention_backward dq", args.dq),
                            rows_of<float>("attention_backward dk", args.dk),
                            rows_of<float>("attention_backward dv", args.dv),
                            static_cast<int>(S),
                            static_cast<int>(H),
                            static_cast<int>(args.key_heads),
                            dqk,
                            dv,
                            args.scale};
  const unsigned tiles = blocks_for(S, attention_side) * static_cast<unsigned>(T / S);
  const unsigned v_slices = blocks_for(dv, attention_columns);
  const unsigned k_slices = blocks_for(dqk, attention_columns);
  enqueue(queue, "attention_backward", [=, kept = deltas](CUstream_st* stream, Fault*) {
    const dim3 keys(tiles, static_cast<unsigned>(shape.key_heads), v_slices + k_slices);
    keys_kernel<<<keys, attention_threads, 0, stream>>>(shape, static_cast<int>(v_slices));
    const dim3 queries(tiles, static_cast<unsigned>(shape.heads), k_slices);
    queries_kernel<<<queries, attention_threads, 0, stream>>>(shape);
  });
}

}  // namespace troupe::kernels::cuda
