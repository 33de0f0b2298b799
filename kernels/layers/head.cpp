#include "kernels/layers/head.h"

#include <algorithm>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/logits.h"

namespace troupe::kernels {
namespace {

/// Rows of a chunk: part of the arithmetic (the weight's gradient adds chunks in order), so it
/// depends on nothing.
constexpr int64_t chunk_rows = 512;

/// In the arithmetic sm_90a the head's operands are BF16, its sums FP32, in every recipe; the
/// gradient of the weight is one sum over all rows, so chunks show in no bit.
bool is_of_tensor_cores(const Queue& queue) { return queue.arithmetic() == Arithmetic::sm_90a; }
constexpr int64_t wide_chunk_rows = 2048;

bool keeps_logits(const Queue& queue, const HeadArgs& args) {
  const int64_t times = is_of_tensor_cores(queue) ? 32 : 1;  // such a GPU has the memory
  return args.x.rows() * args.weight.rows() <= times * args.kept_logits;
}

int64_t rows_of_chunk(const Queue& queue) {
  return is_of_tensor_cores(queue) ? wide_chunk_rows : chunk_rows;
}

/// Calls f(first row, rows) for each chunk.
template <class F>
void for_chunks(const Queue& queue, int64_t rows, F f) {
  const int64_t most = rows_of_chunk(queue);
  for (int64_t first = 0; first < rows; first += most) f(first, std::min(most, rows - first));
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

/// a times the transpose of b, or b, of operands in bf16.
void multiply(Queue& queue, Scratch& scratch, const ConstTensor& a, const ConstTensor& b,
              bool transpose_b, const Tensor& c) {
  cuda::multiply_bf16(queue, scratch, {.a = a, .b = {b}, .transpose_b = transpose_b,
                                       .offsets = {0, a.rows()}, .rounds = false, .c = c});
}

/// The gradient of all logits, in bf16, and dx.
Tensor backward_inputs_on_tensor_cores(Queue& queue, Scratch& scratch, const HeadArgs& args,
                                       const HeadSaved& saved, const Tensor& dx) {
  const int64_t T = args.x.rows(), V = args.weight.rows();
  const Tensor all = cuda::bf16_place(scratch, T, V);
  PassingScratch passing(queue);
  const ConstTensor weight = cuda::bf16_operand(queue, *passing, args.weight);
  const bool are_kept = saved.logits.data != nullptr;
  const Tensor chunk =
      are_kept ? Tensor{} : passing->f32({std::min(T, wide_chunk_rows), V});
  for_chunks(queue, T, [&](int64_t first, int64_t n) {
    const Tensor logits = are_kept ? row_range(saved.logits, first, n) : row_range(chunk, 0, n);
    if (!are_kept) head_logits(queue, weight, row_range(args.x, first, n), logits);
    cuda::logit_gradients(
        queue, {.logits = logits,
                .targets = reshape(part(args.targets, first, n), {n}),
                .log_sums = reshape(part(ConstTensor(saved.log_sums), first, n), {n}),
                .scale = args.scale, .dlogits = row_range(all, first, n)});
  });
  multiply(queue, *passing, all, weight, false, dx);
  return all;
}

}  // namespace

void head_logits(Queue& queue, const ConstTensor& weight, const ConstTensor& x,
                 const Tensor& logits) {
  if (is_of_tensor_cores(queue)) {
    PassingScratch passing(queue);
    return multiply(queue, *passing, cuda::bf16_operand(queue, *passing, x),
                    cuda::bf16_operand(queue, *passing, weight), true, logits);
  }
  gemm(queue, {.a = x, .b = weight, .transpose_a = false, .transpose_b = true, .c = logits,
               .add_to_c = false});
}

HeadSaved head_forward(Queue& queue, Scratch& scratch, const HeadArgs& args) {
  const int64_t T = args.x.rows(), V = args.weight.rows();
  PassingScratch passing(queue);
  const ConstTensor weight = is_of_tensor_cores(queue)
                                 ? cuda::bf16_operand(queue, *passing, args.weight)
                                 : args.weight;
  HeadSaved saved{scratch.f32({T}), scratch.f32({T}), {}};
  if (keeps_logits(queue, args)) saved.logits = scratch.f32({T, V});
  const Tensor reused = keeps_logits(queue, args) ? Tensor{} : passing->f32({std::min(T, rows_of_chunk(queue)), V});
  for_chunks(queue, T, [&](int64_t first, int64_t n) {
    const Tensor logits =
        saved.logits.data ? row_range(saved.logits, first, n) : row_range(reused, 0, n);
    head_logits(queue, weight, row_range(args.x, first, n), logits);
    cross_entropy(queue, {.logits = logits,
                          .targets = reshape(part(args.targets, first, n), {n}),
                          .losses = reshape(part(saved.losses, first, n), {n}),
                          .log_sums = reshape(part(saved.log_sums, first, n), {n})});
  });
  return saved;
}

Tensor head_backward_inputs(Queue& queue, Scratch& scratch, const HeadArgs& args,
                            const HeadSaved& saved, const Tensor& dx) {
  if (is_of_tensor_cores(queue)) {
    return backward_inputs_on_tensor_cores(queue, scratch, args, saved, dx);
  }
  const int64_t T = args.x.rows(), V = args.weight.rows();
  const bool keep = saved.logits.data != nullptr;
  PassingScratch passing(queue);
  const Tensor all = keep ? saved.logits : passing->f32({std::min(T, chunk_rows), V});
  for_chunks(queue, T, [&](int64_t first, int64_t n) {
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
  if (!gradient.is_wanted()) return;
  if (T == 0) return add_empty_unit(queue, gradient);
  if (is_of_tensor_cores(queue)) {
    PassingScratch passing(queue);
    return cuda::add_weights_bf16(queue, *passing,
                                  {.a = dlogits, .b = cuda::bf16_operand(queue, *passing, args.x),
                                   .offsets = {0, T}, .into = {gradient}});
  }
  const Tensor unit = scratch.f32({V, args.x.cols()});
  PassingScratch passing(queue);
  const Tensor reused = dlogits.data ? Tensor{} : passing->f32({std::min(T, chunk_rows), V});
  for_chunks(queue, T, [&](int64_t first, int64_t n) {
    Tensor part_dlogits = dlogits.data ? row_range(dlogits, first, n) : row_range(reused, 0, n);
    if (!dlogits.data) chunk_dlogits(queue, args, saved, first, n, part_dlogits);
    gemm(queue, {.a = part_dlogits, .b = row_range(args.x, first, n), .transpose_a = true,
                 .transpose_b = false, .c = unit, .add_to_c = first > 0});
  });
  add_unit(queue, gradient, unit);
}

}  // namespace troupe::kernels
