#include "kernels/layers/attention/gqa.h"

#include "kernels/layers/attention/mla_projections.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {
namespace {

int64_t query_columns(const ModelShape& s) { return s.heads * s.query_width(); }
int64_t key_columns(const ModelShape& s) { return s.kv_heads * s.query_width(); }

/// In place: x [T, heads * R].
void rotate(Queue& queue, const MlaContext& context, const Tensor& x, int64_t heads,
            const ConstTensor& positions, bool inverse) {
  mla::rotate(queue, context, reshape(x, {x.rows() * heads, x.cols() / heads}), heads, positions,
              inverse);
}

/// q, k and v of `saved`.
void project_rows(Queue& queue, Scratch& scratch, const MlaContext& context,
                  const GqaWeights& weights, const ConstTensor& x, const ConstTensor& positions,
                  GqaSaved& saved) {
  const ModelShape& s = *context.shape;
  saved.q = scratch.f32({x.rows(), query_columns(s)});
  saved.k = scratch.f32({x.rows(), key_columns(s)});
  saved.v = scratch.f32({x.rows(), key_columns(s)});
  mla::project(queue, context, x, weights.q, saved.q);
  mla::project(queue, context, x, weights.k, saved.k);
  mla::project(queue, context, x, weights.v, saved.v);
  rotate(queue, context, saved.q, s.heads, positions, false);
  rotate(queue, context, saved.k, s.kv_heads, positions, false);
}

/// The cache's new rows, and the pages as attention reads them.
AttentionSequence continued(Queue& queue, const ModelShape& s, const Tensor& k, const Tensor& v,
                            LayerCache& cache) {
  const int64_t first = cache.length, width = key_columns(s);
  grow_cache(cache, first + k.rows(), 2 * width);
  for_pages(cache, first, cache.length, [&](const Tensor& rows, int64_t at) {
    copy(queue, {.x = row_range(k, at - first, rows.rows()), .y = columns(rows, 0, width)});
    copy(queue, {.x = row_range(v, at - first, rows.rows()), .y = columns(rows, width, width)});
  });
  AttentionSequence sequence{};
  sequence.queries = k.rows();
  sequence.first_position = first;
  sequence.keys.page_rows = sequence.values.page_rows = cache.page_rows;
  for (const Buffer& page : cache.pages) {
    sequence.keys.pages.push_back(columns(ConstTensor(page), 0, width));
    sequence.values.pages.push_back(columns(ConstTensor(page), width, width));
  }
  return sequence;
}

}  // namespace

GqaSaved gqa_forward(Queue& queue, Scratch& scratch, const GqaForwardArgs& args) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows();
  mla::expect_whole_sequences("gqa_forward", T, args.sequence_rows);
  GqaSaved saved;
  project_rows(queue, scratch, args.context, args.weights, args.x, args.positions, saved);
  saved.o = scratch.f32({T, query_columns(s)});
  saved.log_sums = scratch.f32({T, s.heads});
  attention(queue, {.q = saved.q, .heads = s.heads, .key_heads = s.kv_heads,
                    .scale = args.context.scale,
                    .sequences = mla::whole_sequences(saved.k, saved.v, args.sequence_rows),
                    .o = saved.o, .log_sums = saved.log_sums});
  mla::project_output(queue, args.context, saved.o, args.weights.o, args.y);
  mla::keep_output(queue, args.context, saved.o);
  return saved;
}

GqaDeltas gqa_backward_inputs(Queue& queue, Scratch& scratch, const GqaBackwardArgs& args,
                              const GqaSaved& saved) {
  const ModelShape& s = *args.context.shape;
  const int64_t T = args.x.rows();
  const auto through = [&](const ConstTensor& dy, const ConstTensor& weight, const Tensor& dx,
                           bool add) {
    linear_backward_inputs(queue, {.precision = args.context.precision, .dy = dy, .weight = weight,
                                   .dx = dx, .add_to_dx = add});
  };
  const Tensor d_o = scratch.f32({T, query_columns(s)});
  const GqaDeltas d{scratch.f32({T, query_columns(s)}), scratch.f32({T, key_columns(s)}),
                    scratch.f32({T, key_columns(s)})};
  through(args.dy, args.weights.o, d_o, false);
  attention_backward(queue, {.do_ = d_o, .q = saved.q, .k = saved.k, .v = saved.v, .o = saved.o,
                             .log_sums = saved.log_sums, .sequence_rows = args.sequence_rows,
                             .heads = s.heads, .key_heads = s.kv_heads,
                             .scale = args.context.scale, .dq = d.dq, .dk = d.dk, .dv = d.dv});
  rotate(queue, args.context, d.dq, s.heads, args.positions, true);
  rotate(queue, args.context, d.dk, s.kv_heads, args.positions, true);
  through(d.dq, args.weights.q, args.dx, false);
  through(d.dk, args.weights.k, args.dx, true);
  through(d.dv, args.weights.v, args.dx, true);
  return d;
}

void gqa_backward_weights(Queue& queue, Scratch& scratch, const GqaBackwardArgs& args,
                          const GqaSaved& saved, const GqaDeltas& d, const GqaGradients& gradients) {
  const auto matrix = [&](const ConstTensor& dy, const ConstTensor& x, const GradientSum& into,
                          Scales scales = Scales::any) {
    linear_backward_weights(queue, scratch, {.precision = args.context.precision, .scales = scales,
                                             .dy = dy, .x = x, .into = into});
  };
  matrix(args.dy, saved.o, gradients.o, mla::output_scales);
  matrix(d.dq, args.x, gradients.q);
  matrix(d.dk, args.x, gradients.k);
  matrix(d.dv, args.x, gradients.v);
}

void gqa_cached(Queue& queue, Scratch& scratch, const GqaCachedArgs& args) {
  const ModelShape& s = *args.context.shape;
  check_caches("gqa_cached", args.sequences, args.x.rows(), s.max_positions);
  GqaSaved saved;
  project_rows(queue, scratch, args.context, args.weights, args.x, args.positions, saved);
  std::vector<AttentionSequence> sequences;
  int64_t row = 0;
  for (const CachedSequence& part : args.sequences) {
    sequences.push_back(continued(queue, s, row_range(saved.k, row, part.rows),
                                  row_range(saved.v, row, part.rows), *part.cache));
    sequences.back().query_row = row;
    row += part.rows;
  }
  const Tensor o = scratch.f32({args.x.rows(), query_columns(s)});
  attention(queue, {.q = saved.q, .heads = s.heads, .key_heads = s.kv_heads,
                    .scale = args.context.scale, .sequences = std::move(sequences), .o = o,
                    .log_sums = {}});
  mla::project_output(queue, args.context, o, args.weights.o, args.y);
}

}  // namespace troupe::kernels
