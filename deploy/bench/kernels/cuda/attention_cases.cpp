// MLA's attention: of training, causal, and absorbed over a paged cache. The peer of the former, cuDNN, is measured by
// tests/bench/compare_attention.
#include <array>

#include "deploy/bench/kernels/cuda/operands.h"
#include "kernels/cuda/attention/attention_decode_sm90.h"
#include "kernels/cuda/attention/attention_sm90.h"

namespace troupe::deploy::kernel_bench {
namespace {

using namespace kernels::cuda;

struct TrainingShape {
  int64_t sequences, heads, rows;  ///< `rows` of each sequence
};

constexpr int64_t key_columns = 192, value_columns = 128, first_rotated = 128;
constexpr float scale = 0.0722f;  // about 192^-1/2

HeadRows heads_of(const DeviceArray<uint16_t>& rows, int64_t heads, int64_t columns, int64_t first = 0) {
  return {rows.data() + first, heads * columns, columns};
}
HeadRowsOut heads_out(const DeviceArray<uint16_t>& rows, int64_t heads, int64_t columns, int64_t first = 0) {
  return {rows.data() + first, heads * columns, columns};
}

/// What forward reads and writes.
struct Forward {
  explicit Forward(const TrainingShape& x)
      : rows(x.sequences * x.rows),
        q(random_array<uint16_t>(rows * x.heads * key_columns, 1)),
        k(random_array<uint16_t>(rows * x.heads * key_columns, 2)),
        v(random_array<uint16_t>(rows * x.heads * value_columns, 3)),
        o(rows * x.heads * value_columns),
        log_sums(rows * x.heads),
        counter(DeviceArray<int32_t>::zeros(1)),
        args{.heads = x.heads,
             .sequences = x.sequences,
             .queries = {nullptr, x.rows, rows},
             .keys = {nullptr, x.rows, rows},
             .scale = scale,
             .q = heads_of(q, x.heads, key_columns),
             .k = heads_of(k, x.heads, key_columns),
             .k_rope = heads_of(k, x.heads, key_columns, first_rotated),
             .v = heads_of(v, x.heads, value_columns),
             .o = o.data(),
             .log_sums = log_sums.data(),
             .counter = counter.data()} {}
  int64_t rows;
  DeviceArray<uint16_t> q, k, v, o;
  DeviceArray<float> log_sums;
  DeviceArray<int32_t> counter;
  AttentionForwardSm90Args args;
};

std::string describe(const TrainingShape& x) {
  return std::to_string(x.sequences) + " x " + std::to_string(x.heads) + " heads x " + std::to_string(x.rows);
}
/// Pairs of a query and a key that it sees, times two for the two operations of a product.
double operations(const TrainingShape& x) { return product({x.sequences, x.heads, x.rows, x.rows}); }
double elements(const TrainingShape& x) { return product({x.sequences, x.heads, x.rows}); }

Case forward(const TrainingShape& x) {
  const auto its = std::make_shared<const Forward>(x);
  return {.shape = describe(x),
          .flop = operations(x) * (key_columns + value_columns),
          .bytes = elements(x) * (4 * (key_columns + value_columns) + 4),
          .ours = on_stream([its](cudaStream_t stream) { attention_forward_sm90(its->args, stream); })};
}

Case backward(const TrainingShape& x) {
  struct Kept {
    Forward forward;
    DeviceArray<uint16_t> d_o, dq, dk, dv;
    DeviceArray<uint8_t> workspace;
  };
  const int64_t rows = x.sequences * x.rows, H = x.heads;
  const int64_t bytes = attention_backward_sm90_workspace_bytes(H, x.sequences, {nullptr, x.rows, rows}, H);
  const int64_t keys = rows * H * key_columns, values = rows * H * value_columns;
  const auto its = std::make_shared<const Kept>(
      Kept{Forward(x), random_array<uint16_t>(values, 4), DeviceArray<uint16_t>(keys), DeviceArray<uint16_t>(keys),
           DeviceArray<uint16_t>(values), DeviceArray<uint8_t>(bytes)});
  attention_forward_sm90(its->forward.args, nullptr);
  expect_cuda(cudaDeviceSynchronize(), "attention");
  const AttentionForwardSm90Args& f = its->forward.args;
  const AttentionBackwardSm90Args args{.heads = H,
                                       .sequences = x.sequences,
                                       .rows = f.queries,
                                       .scale = scale,
                                       .q = f.q,
                                       .k = f.k,
                                       .k_rope = f.k_rope,
                                       .v = f.v,
                                       .o = heads_of(its->forward.o, H, value_columns),
                                       .do_ = heads_of(its->d_o, H, value_columns),
                                       .log_sums = f.log_sums,
                                       .dq = heads_out(its->dq, H, key_columns),
                                       .dk = heads_out(its->dk, H, key_columns),
                                       .dk_rope = heads_out(its->dk, H, key_columns, first_rotated),
                                       .dv = heads_out(its->dv, H, value_columns),
                                       .workspace = its->workspace.data(),
                                       .workspace_bytes = bytes};
  return {.shape = describe(x),
          .flop = operations(x) * (3 * key_columns + 2 * value_columns),
          .bytes = elements(x) * (8 * (key_columns + value_columns) + 4),
          .ours = on_stream([its, args](cudaStream_t stream) { attention_backward_sm90(args, stream); })};
}

struct DecodeShape {
  int64_t heads, sequences, tokens, length;
};

constexpr int64_t cached_columns = 576, latent_columns = 512;

/// Pages in an order without a pattern: page i is number i * 7919 mod count, count no multiple of that prime.
std::vector<int32_t> scattered_pages(int64_t count) {
  std::vector<int32_t> pages;
  for (int64_t i = 0; i < count; ++i) pages.push_back(static_cast<int32_t>(i * 7919 % count));
  return pages;
}

Case decode(const DecodeShape& x) {
  struct Kept {
    DeviceArray<uint16_t> q, cache, o;
    DeviceArray<int32_t> table, lengths;
    DeviceArray<float> log_sums;
    DeviceArray<uint8_t> workspace;
  };
  const int64_t B = x.sequences, pages = B * x.length / attention_decode_page, rows = B * x.tokens * x.heads;
  const std::vector<int32_t> lengths(static_cast<size_t>(B), static_cast<int32_t>(x.length));
  const auto its = std::make_shared<const Kept>(
      Kept{random_array<uint16_t>(rows * cached_columns, 1), random_array<uint16_t>(B * x.length * cached_columns, 2),
           DeviceArray<uint16_t>(rows * latent_columns), DeviceArray<int32_t>(scattered_pages(pages)),
           DeviceArray<int32_t>(lengths), DeviceArray<float>(rows),
           DeviceArray<uint8_t>(attention_decode_sm90_workspace_bytes(x.heads, B, x.tokens, x.length))});
  const AttentionDecodeSm90Args args{.heads = x.heads,
                                     .sequences = B,
                                     .tokens = x.tokens,
                                     .scale = scale,
                                     .q = its->q.data(),
                                     .cache = its->cache.data(),
                                     .pages = pages,
                                     .page_table = its->table.data(),
                                     .table_stride = x.length / attention_decode_page,
                                     .lengths = its->lengths.data(),
                                     .longest = x.length,
                                     .o = its->o.data(),
                                     .log_sums = its->log_sums.data(),
                                     .workspace = its->workspace.data()};
  return {.shape = std::to_string(x.heads) + " heads, " + by({B, x.tokens}) + " of " + std::to_string(x.length),
          .flop = 2 * product({rows, x.length, cached_columns + latent_columns}),
          .bytes = 2 * product({B, x.length, cached_columns}) +
                   product({rows, 2 * (cached_columns + latent_columns) + 4}),
          .ours = on_stream([its, args](cudaStream_t stream) { attention_decode_sm90(args, stream); })};
}

}  // namespace

void add_attention_cases(std::vector<CaseOf>& cases) {
  constexpr std::array<TrainingShape, 3> training{{{1, 128, 4096}, {1, 128, 8192}, {8, 16, 2048}}};
  for (const TrainingShape& x : training) {
    cases.push_back({"attention forward", [x](const PeerLibrary*) { return forward(x); }});
  }
  for (const TrainingShape& x : training) {
    cases.push_back({"attention backward", [x](const PeerLibrary*) { return backward(x); }});
  }
  for (const DecodeShape& x : std::array<DecodeShape, 11>{{{128, 128, 1, 4096},
                                                           {128, 128, 2, 4096},
                                                           {128, 64, 1, 8192},
                                                           {128, 132, 1, 2048},
                                                           {128, 16, 1, 32768},
                                                           {32, 132, 1, 8192},
                                                           {64, 132, 1, 8192},
                                                           {16, 128, 1, 4096},
                                                           {16, 264, 1, 4096},
                                                           {16, 64, 1, 16384},
                                                           {16, 128, 2, 8192}}}) {
    const char* const family = x.heads == 128  ? "decode, 128 heads"
                               : x.heads == 16 ? "decode, 16 heads"
                                               : "decode, 32 or 64 heads";
    cases.push_back({family, [x](const PeerLibrary*) { return decode(x); }});
  }
}

}  // namespace troupe::deploy::kernel_bench
