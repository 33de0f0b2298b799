#include "kernels/cuda/attention/attention_tiles.cuh"
#include "kernels/ops/attention.h"

namespace troupe::kernels::cuda {
namespace {

struct KeyPage {
  const float* data;
  int64_t stride;
};

/// A sequence; its pages stand in the list of all.
struct SequencePart {
  int64_t query_row, queries, first_position;
  int64_t first_key_page, key_page_rows;
  int64_t first_value_page, value_page_rows;
};

struct AttentionShape {
  Rows<const float> q;
  Rows<float> o, log_sums;
  int key_heads;
  int together;  // heads that share a key head
  int dqk, dv, slices;
  float scale;
};

/// Up to 64 neighbouring rows of a sequence. A row is a query of one head: the heads that share the
/// key head, of one query, then of the next one.
struct AttentionRows {
  const AttentionShape& s;
  const SequencePart& part;
  const KeyPage* pages;
  int key_head;
  int64_t first;

  __device__ int64_t count() const { return part.queries * s.together; }
  __device__ bool has(int r) const { return first + r < count(); }
  __device__ int64_t token(int r) const { return part.query_row + (first + r) / s.together; }
  __device__ int64_t head(int r) const { return key_head * s.together + (first + r) % s.together; }
  /// How many keys the row attends to.
  __device__ int64_t keys(int r) const {
    return has(r) ? part.first_position + (first + r) / s.together + 1 : 0;
  }
  __device__ const float* query(int r) const {
    return has(r) ? s.q[token(r)] + head(r) * s.dqk : nullptr;
  }
  __device__ const float* key(int64_t p) const {
    const KeyPage& page = pages[part.first_key_page + p / part.key_page_rows];
    return page.data + p % part.key_page_rows * page.stride + key_head * s.dqk;
  }
  __device__ const float* value(int64_t p) const {
    const KeyPage& page = pages[part.first_value_page + p / part.value_page_rows];
    return page.data + p % part.value_page_rows * page.stride + key_head * s.dv;
  }
};

/// Scores of the tile of keys from `first` on; they are computed twice, since exp needs the
/// maximum.
__device__ void tile_scores(AttentionMemory& memory, const AttentionRows& rows, int64_t first,
                            int64_t keys, float (&sum)[4][4]) {
  attention_scores(
      memory, [&](int r) { return rows.query(r); },
      [&](int c) { return first + c < keys ? rows.key(first + c) : nullptr; }, rows.s.dqk, sum);
}

__global__ void __launch_bounds__(attention_threads)
    attention_kernel(AttentionShape s, const SequencePart* parts, const KeyPage* pages) {
  __shared__ AttentionMemory memory;
  __shared__ float tops[attention_side], sums[attention_side];
  const SequencePart part = parts[blockIdx.z / s.slices];
  const int first_column = static_cast<int>(blockIdx.z % s.slices) * attention_columns;
  const int columns = min(attention_columns, s.dv - first_column);
  const AttentionRows rows{s, part, pages, static_cast<int>(blockIdx.y),
                           blockIdx.x * int64_t{attention_side}};
  if (!rows.has(0)) return;
  const int last = static_cast<int>(min(int64_t{attention_side}, rows.count() - rows.first)) - 1;
  const int64_t keys = rows.keys(last);
  const int ty = attention_y(), tx = attention_x();

  float score[4][4], top[4];
  for (float& most : top) most = -std::numeric_limits<float>::infinity();
  for (int64_t first = 0; first < keys; first += attention_side) {
    tile_scores(memory, rows, first, keys, score);
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        const float x = __fmul_rn(score[i][j], s.scale);
        if (first + 4 * tx + j < rows.keys(4 * ty + i) && x > top[i]) top[i] = x;
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    const float most = greatest_lane(top[i]);
    if (tx == 0) tops[4 * ty + i] = most;
  }
  __syncthreads();

  float out[4][8] = {};
  float lane_sums[4] = {};  // rows y + 16 m, positions x mod 16
  for (int64_t first = 0; first < keys; first += attention_side) {
    tile_scores(memory, rows, first, keys, score);
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        const int r = 4 * ty + i, c = 4 * tx + j;
        const float e = exp(set1(score[i][j]) * set1(s.scale) - set1(tops[r])).v;
        memory.tile[r * (attention_side + 1) + c] = first + c < rows.keys(r) ? e : 0.0f;
      }
    }
    __syncthreads();
    for (int m = 0; m < 4; ++m) {
      const int r = ty + 16 * m;
      for (int c = tx; c < attention_side; c += 16) {
        lane_sums[m] = __fadd_rn(lane_sums[m], memory.tile[r * (attention_side + 1) + c]);
      }
    }
    attention_add(
        memory, static_cast<int>(min(int64_t{attention_side}, keys - first)), columns,
        first + attention_side <= rows.keys(0) && rows.has(attention_side - 1),
        [&](int c) { return rows.value(first + c) + first_column; },
        [&](int r, int c) { return memory.tile[r * (attention_side + 1) + c]; },
        [&](int r, int c) { return first + c < rows.keys(r); }, out);
  }
  for (int m = 0; m < 4; ++m) {
    const float sum = sum_lanes(lane_sums[m]);
    if (tx == 0) sums[ty + 16 * m] = sum;
  }
  __syncthreads();
  for (int i = 0; i < 4; ++i) {
    const int r = 4 * ty + i;
    if (!rows.has(r)) continue;
    float* const o = s.o[rows.token(r)] + rows.head(r) * s.dv + first_column;
    for (int j = 0; j < 8; ++j) {
      if (tx + 16 * j < columns) o[tx + 16 * j] = __fdiv_rn(out[i][j], sums[r]);
    }
    if (tx == 0 && first_column == 0 && s.log_sums.data) {
      s.log_sums[rows.token(r)][rows.head(r)] = (set1(tops[r]) + attention_log(set1(sums[r]))).v;
    }
  }
}

int64_t add_pages(const char* what, const KeyPages& keys, std::vector<KeyPage>& all) {
  const auto first = static_cast<int64_t>(all.size());
  for (const ConstTensor& page : keys.pages) {
    const auto rows = rows_of<float>(what, page);
    all.push_back({rows.data, rows.stride});
  }
  return first;
}

}  // namespace

void attention(Queue& queue, const AttentionArgs& args) {
  std::vector<SequencePart> parts;
  std::vector<KeyPage> pages;
  int64_t most_rows = 0;
  const int64_t together = args.heads / args.key_heads;
  for (const AttentionSequence& sequence : args.sequences) {
    if (sequence.queries == 0) continue;
    parts.push_back({sequence.query_row, sequence.queries, sequence.first_position,
                     add_pages("attention keys", sequence.keys, pages), sequence.keys.page_rows,
                     add_pages("attention values", sequence.values, pages),
                     sequence.values.page_rows});
    most_rows = std::max(most_rows, sequence.queries * together);
  }
  if (parts.empty()) return;
  const int dv = static_cast<int>(args.o.cols() / args.heads);
  const AttentionShape shape{rows_of<float>("attention q", args.q),
                             rows_of<float>("attention o", args.o),
                             rows_of<float>("attention log_sums", args.log_sums),
                             static_cast<int>(args.key_heads),
                             static_cast<int>(together),
                             static_cast<int>(args.q.cols() / args.heads),
                             dv,
                             static_cast<int>(blocks_for(dv, attention_columns)),
                             args.scale};
  const int64_t blocks = static_cast<int64_t>(parts.size()) * shape.slices;
  if (blocks > 65535) {
    throw KernelError("attention: " + std::to_string(parts.size()) + " sequences of " +
                      std::to_string(shape.slices) + " slices, wanted 65535 at most on the GPU");
  }
  const dim3 grid(blocks_for(most_rows, attention_side), static_cast<unsigned>(args.key_heads),
                  static_cast<unsigned>(blocks));
  enqueue(queue, "attention",
          [=, parts = SharedList<SequencePart>(parts), pages = SharedList<KeyPage>(pages)](
              CUstream_st* stream, Fault*) {
            attention_kernel<<<grid, attention_threads, 0, stream>>>(shape, parts.data(),
                                                                     pages.data());
          });
}

}  // namespace troupe::kernels::cuda
