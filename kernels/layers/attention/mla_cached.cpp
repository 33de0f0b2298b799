#include "kernels/layers/attention/mla.h"
#include "kernels/layers/attention/mla_projections.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {
namespace {

void append(Queue& queue, const ModelShape& s, const ConstTensor& latent, LayerCache& cache) {
  const int64_t begin = cache.length, end = begin + latent.rows();
  grow_cache(cache, end, s.kv_lora + s.rope);
  for_pages(cache, begin, end, [&](const Tensor& rows, int64_t first) {
    copy(queue, {.x = row_range(latent, first - begin, rows.rows()), .y = rows});
  });
}

/// Keys and values of every head for all positions of a cache.
AttentionSequence expanded(Queue& queue, Scratch& scratch, const MlaCachedArgs& args,
                           const LayerCache& cache) {
  const ModelShape& s = *args.context.shape;
  const int64_t n = cache.length;
  const Tensor k = scratch.f32({n, s.heads * s.query_width()});
  const Tensor v = scratch.f32({n, s.heads * s.v_head});
  for_pages(cache, 0, n, [&](const Tensor& rows, int64_t first) {
    mla::expand_latent(queue, args.context, args.weights, rows,
                       row_range(k, first, rows.rows()), row_range(v, first, rows.rows()));
  });
  AttentionSequence sequence{};
  sequence.keys = {{k}, n};
  sequence.values = {{v}, n};
  return sequence;
}

AttentionSequence over_latent(const MlaCachedArgs& args, const LayerCache& cache) {
  AttentionSequence sequence{};
  sequence.keys.page_rows = sequence.values.page_rows = cache.page_rows;
  for (const Buffer& page : cache.pages) {
    sequence.keys.pages.push_back(page);
    sequence.values.pages.push_back(columns(ConstTensor(page), 0, args.context.shape->kv_lora));
  }
  return sequence;
}

/// Head h's rows of the up-projection: its key part [nope, C], then its value part [v_head, C].
ConstTensor up_rows(const MlaCachedArgs& args, int64_t head, int64_t first, int64_t n) {
  const ModelShape& s = *args.context.shape;
  return row_range(args.weights.kv_b, head * (s.nope + s.v_head) + first, n);
}

/// [T, H * (C + R)]: each head's query through the key's up-projection, and its rotated part.
Tensor absorbed_query(Queue& queue, Scratch& scratch, const MlaCachedArgs& args, const Tensor& q) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = q.rows(), wide = s.kv_lora + s.rope;
  const Tensor out = scratch.f32({T, s.heads * wide});
  for (int64_t h = 0; h < s.heads; ++h) {
    gemm(queue, {.a = columns(q, h * s.query_width(), s.nope), .b = up_rows(args, h, 0, s.nope),
                 .transpose_a = false, .transpose_b = false,
                 .c = columns(out, h * wide, s.kv_lora), .add_to_c = false});
  }
  copy(queue, {.x = mla::head_columns(q, s.heads, s.nope, s.rope),
               .y = mla::head_columns(out, s.heads, s.kv_lora, s.rope)});
  return out;
}

/// [T, H * v_head] from each head's mix of latents [T, H * C].
Tensor absorbed_values(Queue& queue, Scratch& scratch, const MlaCachedArgs& args,
                       const Tensor& mixed) {
  const ModelShape& s = *args.context.shape;
  const Tensor out = scratch.f32({mixed.rows(), s.heads * s.v_head});
  for (int64_t h = 0; h < s.heads; ++h) {
    gemm(queue, {.a = columns(mixed, h * s.kv_lora, s.kv_lora),
                 .b = up_rows(args, h, s.nope, s.v_head), .transpose_a = false,
                 .transpose_b = true, .c = columns(out, h * s.v_head, s.v_head),
                 .add_to_c = false});
  }
  return out;
}

}  // namespace

void mla_cached(Queue& queue, Scratch& scratch, const MlaCachedArgs& args) {
  const ModelShape& s = *args.context.shape;
  const bool is_absorbed = args.form == AttentionForm::absorbed;
  check_caches("mla_cached", args.sequences, args.x.rows(), s.max_positions);
  MlaSaved saved;
  mla::down_projections(queue, scratch, args.context, args.weights, args.x, saved);
  const MlaUp up = mla::query_and_latent(queue, scratch, args.context, args.weights, args.x,
                                         args.positions, saved);

  std::vector<AttentionSequence> sequences;
  int64_t row = 0;
  for (const CachedSequence& part : args.sequences) {
    const int64_t first = part.cache->length;
    append(queue, s, row_range(ConstTensor(up.latent), row, part.rows), *part.cache);
    sequences.push_back(is_absorbed ? over_latent(args, *part.cache)
                                    : expanded(queue, scratch, args, *part.cache));
    sequences.back().query_row = row;
    sequences.back().queries = part.rows;
    sequences.back().first_position = first;
    row += part.rows;
  }
  const Tensor q = is_absorbed ? absorbed_query(queue, scratch, args, up.q) : up.q;
  const Tensor o = scratch.f32({q.rows(), s.heads * (is_absorbed ? s.kv_lora : s.v_head)});
  attention(queue, {.q = q, .heads = s.heads, .key_heads = is_absorbed ? 1 : s.heads,
                    .scale = args.context.scale, .sequences = std::move(sequences), .o = o,
                    .log_sums = {}});
  mla::project_output(queue, args.context,
                      is_absorbed ? absorbed_values(queue, scratch, args, o) : o, args.weights.o,
                      args.y);
}

}  // namespace troupe::kernels
