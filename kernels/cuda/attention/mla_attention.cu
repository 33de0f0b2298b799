#include <algorithm>
#include <string>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/attention/mla_attention.h"
#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/profile.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int64_t dqk = mla_nope + mla_rope, dkv = mla_nope + mla_v_head;

/// Scratch of backward: as many heads together as this holds.
constexpr int64_t most_workspace_bytes = int64_t{1} << 30;

const uint16_t* operand(const char* what, const ConstTensor& t, int64_t rows, int64_t cols) {
  expect_shape(what, t, DType::bf16, {rows, cols});
  expect_reachable(what, t, Device::cuda);
  if (t.row_stride % 8 == 0 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0) {
    return values<uint16_t>(t);
  }
  throw KernelError(std::string(what) + " " + describe(t) + " has rows " +
                    std::to_string(t.row_stride) + " apart, wanted a multiple of 8");
}

template <class Args>
PackedRows rows_of_sequences(const Args& args, int64_t T) {
  if (args.sequence_rows <= 0 || T % args.sequence_rows != 0) {
    throw KernelError("mla_attention: " + std::to_string(T) + " rows are no whole number of " +
                      std::to_string(args.sequence_rows) + "-row sequences");
  }
  return {.offsets = nullptr, .longest = args.sequence_rows, .total = T};
}

/// Eight columns of a row a thread.
__global__ void sum_heads_kernel(const uint16_t* heads_of, int64_t heads, int64_t count,
                                 Rows<uint16_t> sums) {
  const int64_t at = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (at >= count) return;
  constexpr int64_t eights = mla_rope / neighbours;
  const int64_t t = at / eights, first = at % eights * neighbours;
  float sum[neighbours] = {};
  for (int64_t h = 0; h < heads; ++h) {
    float x[neighbours];
    load_row<true>(heads_of + (t * heads + h) * mla_rope + first, neighbours, x);
#pragma unroll
    for (int i = 0; i < neighbours; ++i) sum[i] = __fadd_rn(sum[i], x[i]);
  }
  store_row<true>(sums[t] + first, neighbours, sum);
}

}  // namespace

void mla_attention(Queue& queue, Scratch& scratch, const MlaAttentionArgs& args) {
  const OperatorLabel label("attention");
  const int64_t T = args.q.rows(), H = args.heads;
  const PackedRows rows = rows_of_sequences(args, T);
  const uint16_t* const kv = operand("mla_attention kv", args.kv, T, H * dkv);
  expect_shape("mla_attention log_sums", args.log_sums, DType::f32, {H, T});
  operand("mla_attention o", args.o, T, H * mla_v_head);
  const AttentionForwardSm90Args launched{
      .heads = H,
      .sequences = T / args.sequence_rows,
      .queries = rows,
      .keys = rows,
      .scale = args.scale,
      .q = {operand("mla_attention q", args.q, T, H * dqk), args.q.row_stride, dqk},
      .k = {kv, args.kv.row_stride, dkv},
      .k_rope = {operand("mla_attention key", args.key, T, mla_rope), args.key.row_stride, 0},
      .v = {kv + mla_nope, args.kv.row_stride, dkv},
      .o = values<uint16_t>(args.o),
      .log_sums = values<float>(args.log_sums),
      .counter = values<int32_t>(scratch.of(DType::i32, {1}))};
  if (T == 0) return;
  enqueue(queue, "attention",
          [launched](CUstream_st* stream, Fault*) { attention_forward_sm90(launched, stream); });
}

void mla_attention_backward(Queue& queue, Scratch& scratch, const MlaAttentionBackwardArgs& args) {
  const OperatorLabel label("attention_backward");
  const int64_t T = args.q.rows(), H = args.heads, sequences = T / args.sequence_rows;
  const PackedRows rows = rows_of_sequences(args, T);
  if (T == 0) return;
  int64_t together = H;
  const auto workspace_of = [&](int64_t heads) {
    return attention_backward_sm90_workspace_bytes(H, sequences, rows, heads);
  };
  while (together > 1 && workspace_of(together) > most_workspace_bytes) --together;
  const int64_t bytes = workspace_of(together);
  const Tensor workspace = scratch.of(DType::f8_e4m3, {bytes});
  const Tensor of_heads = scratch.of(DType::bf16, {T, H * mla_rope});
  const uint16_t* const kv = operand("mla_attention_backward kv", args.kv, T, H * dkv);
  operand("mla_attention_backward dq", args.dq, T, H * dqk);
  operand("mla_attention_backward dkv", args.dkv, T, H * dkv);
  operand("mla_attention_backward dkey", args.dkey, T, mla_rope);
  uint16_t* const dkv_data = values<uint16_t>(args.dkv);
  const AttentionBackwardSm90Args launched{
      .heads = H,
      .sequences = sequences,
      .rows = rows,
      .scale = args.scale,
      .q = {operand("mla_attention_backward q", args.q, T, H * dqk), args.q.row_stride, dqk},
      .k = {kv, args.kv.row_stride, dkv},
      .k_rope = {operand("mla_attention_backward key", args.key, T, mla_rope), args.key.row_stride,
                 0},
      .v = {kv + mla_nope, args.kv.row_stride, dkv},
      .o = {operand("mla_attention_backward o", args.o, T, H * mla_v_head), args.o.row_stride,
            mla_v_head},
      .do_ = {operand("mla_attention_backward do", args.do_, T, H * mla_v_head),
              args.do_.row_stride, mla_v_head},
      .log_sums = values<float>(args.log_sums),
      .dq = {values<uint16_t>(args.dq), args.dq.row_stride, dqk},
      .dk = {dkv_data, args.dkv.row_stride, dkv},
      .dk_rope = {values<uint16_t>(of_heads), H * mla_rope, mla_rope},
      .dv = {dkv_data + mla_nope, args.dkv.row_stride, dkv},
      .workspace = workspace.data,
      .workspace_bytes = bytes};
  const Rows<uint16_t> dkey{values<uint16_t>(args.dkey), args.dkey.row_stride};
  enqueue(queue, "attention_backward", [=](CUstream_st* stream, Fault*) {
    attention_backward_sm90(launched, stream);
    const int64_t count = T * (mla_rope / neighbours);
    sum_heads_kernel<<<blocks_for(count, 256), 256, 0, stream>>>(values<uint16_t>(of_heads), H,
                                                                 count, dkey);
  });
}

}  // namespace troupe::kernels::cuda
