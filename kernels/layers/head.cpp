#include "kernels/layers/head.h"

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/logits.h"

namespace troupe::kernels {
namespace {

/// Rows of a chunk: part of the arithmetic (the weight's gradient adds chunks in order), so it
/// depends on nothing.
constexpr int64_t chunk_rows = 512;

bool keeps_logits(const HeadArgs& args) {
  return args.x.rows() * args.weight.rows() <= args.kept_logits;
}

/// Calls f(first row, rows) for each chunk.
template <class F>
void for_chunks(int64_t rows, F f) {
  for (int64_t first = 0; first < rows; first += chunk_rows) {
    f(first, std::min(chunk_rows, rows - first));
  }
}

/// [n] entries of a [T] tensor.
template <class T>
T part(const T& t, int64_t first, int64_t n) {
  return row_range(reshape(t, {t.count(), 1}), first, n);
}

/// dlogits of one chunk, from kept logits or from logits computed again.
void chunk_dlogits(Queue& queue, const HeadArgs& args, const HeadSaved& saved, int64_t first,
                   int64_t n, const Tensor& dlogits) {
  ConstTensor logits = dlogits;
  if (saved.logits.data != nullptr) {
    logits = row_range(ConstTensor(saved.logits), first, n);
  } else {
    head_logits(queue, args.weight, row_range(args.x, first, n), dlogits);
  }
  cross_entropy_backward(
      queue, {.logits = logits,
              .targets = reshape(part(args.targets, first, n), {n}),
              .log_sums = reshape(part(ConstTensor(saved.log_sums), first, n), {n}),
              .scale = args.scale, .dlogits = dlogits});
}

}  // namespace

void head_logits(Queue& queue, const ConstTensor& weight, const ConstTensor& x,
                 const Tensor& logits) {
  gemm(queue, {.a = x, .b = weight, .transpose_a = false, .transpose_b = true, .c = logits,
               .add_to_c = false});
}

HeadSaved head_forward(Queue& queue, Scratch& scratch, const HeadArgs& args) {
  const int64_t T = args.x.rows(), V = args.weight.rows();
  HeadSaved saved{scratch.f32({T}), scratch.f32({T}), {}};
  if (keeps_logits(args)) saved.logits = scratch.f32({T, V});
  const Tensor reused = keeps_logits(args) ? Tensor{} : scratch.f32({std::min(T, chunk_rows), V});
  for_chunks(T, [&](int64_t first, int64_t n) {
    const Tensor logits =
        saved.logits.data ? row_range(saved.logits, first, n) : row_range(reused, 0, n);
    head_logits(queue, args.weight, row_range(args.x, first, n), logits);
    cross_entropy(queue, {.logits = logits,
                          .targets = reshape(part(args.targets, first, n), {n}),
                          .losses = reshape(part(saved.losses, first, n), {n}),
                          .log_sums = reshape(part(saved.log_sums, first, n), {n})});
  });
  return saved;
}

Tensor head_backward_inputs(Queue& queue, Scratch& scratch, const HeadArgs& args,
                            const HeadSaved& saved, const Tensor& dx) {
  const int64_t T = args.x.rows(), V = args.weight.rows();
  const bool keep = saved.logits.data != nullptr;
  const Tensor all = keep ? scratch.f32({T, V}) : scratch.f32({std::min(T, chunk_rows), V});
  for_chunks(T, [&](int64_t first, int64_t n) {
    const Tensor dlogits = row_range(all, keep ? first : 0, n);
    chunk_dlogits(queue, args, saved, first, n, dlogits);
    gemm(queue, {.a = dlogits, .b = args.weight, .transpose_a = false, .transpose_b = false,
                 .c = row_range(dx, first, n), .add_to_c = false});
  });
  return keep ? all : Tensor{};
}

void head_backward_weights(Queue& queue, Scratch& scratch, const HeadArgs& args,
                           const HeadSaved& saved, const Tensor& dlogits,
                           const GradientSum& gradient) {
  const int64_t T = args.x.rows(), V = args.weight.rows();
  if (!gradient.is_wanted() || T == 0) return;
  const Tensor unit = scratch.f32({V, args.x.cols()});
  const Tensor reused = dlogits.data ? Tensor{} : scratch.f32({std::min(T, chunk_rows), V});
  for_chunks(T, [&](int64_t first, int64_t n) {
    Tensor part_dlogits = dlogits.data ? row_range(dlogits, first, n) : row_range(reused, 0, n);
    if (!dlogits.data) chunk_dlogits(queue, args, saved, first, n, part_dlogits);
    gemm(queue, {.a = part_dlogits, .b = row_range(args.x, first, n), .transpose_a = true,
                 .transpose_b = false, .c = unit, .add_to_c = first > 0});
  });
  add_unit(queue, gradient, unit);
}

}  // namespace troupe::kernels
