// A build without CUDA: no queue is on the GPU, so nobody comes here. Everything says why.
#include "kernels/cuda/attention/mla_attention.h"
#include "kernels/cuda/device/device.h"
#include "kernels/cuda/fixed_point.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/cuda/gemm/products_fp8.h"
#include "kernels/cuda/rounding.h"
#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/cuda/sm90/norm_sm90.h"
#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/logfmt.h"
#include "kernels/ops/logits.h"
#include "kernels/ops/mxfp8.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/pack.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/rope.h"
#include "kernels/ops/rounding.h"
#include "kernels/ops/routing.h"
#include "kernels/ops/sort_rows.h"
#include "kernels/ops/swiglu.h"

namespace troupe::kernels::cuda {

void attention(Queue&, const AttentionArgs&) { open(); }
void attention_backward(Queue&, const AttentionBackwardArgs&) { open(); }
void embed(Queue&, const EmbedArgs&) { open(); }
void embed_backward_weights(Queue&, const EmbedWeightGradientArgs&) { open(); }
void add_fixed_point(Queue&, const AddFixedPointArgs&) { open(); }
void round_sum(Queue&, const RoundedSumArgs&) { open(); }
void set_rounded_sum(Queue&, const RoundedSumArgs&) { open(); }
void round_logfmt(Queue&, const RoundLogfmtArgs&) { open(); }
void cross_entropy(Queue&, const CrossEntropyArgs&) { open(); }
void cross_entropy_backward(Queue&, const CrossEntropyBackwardArgs&) { open(); }
void sum_losses(Queue&, const SumLossesArgs&) { open(); }
void round_mxfp8(Queue&, const RoundMxfp8Args&) { open(); }
void rms_norm(Queue&, const RmsNormArgs&) { open(); }
void rms_norm_backward_inputs(Queue&, const RmsNormBackwardArgs&) { open(); }
void rms_norm_backward_weights(Queue&, const RmsNormWeightGradientArgs&) { open(); }
void squared_norm(Queue&, const SquaredNormArgs&) { open(); }
void squared_norms(Queue&, const SquaredNormsArgs&) { open(); }
void adamw_blocks(Queue&, const std::vector<AdamWArgs>&) { open(); }
void update_ema(Queue&, const UpdateEmaArgs&) { open(); }
void pack_rows(Queue&, const PackRowsArgs&) { open(); }
void unpack_rows(Queue&, const UnpackRowsArgs&) { open(); }
void gather_rows(Queue&, const GatherRowsArgs&) { open(); }
void combine_rows(Queue&, const CombineRowsArgs&) { open(); }
void set_zero(Queue&, const SetZeroArgs&) { open(); }
void scale_rows(Queue&, const ScaleRowsArgs&) { open(); }
void dot_rows(Queue&, const DotRowsArgs&) { open(); }
void add(Queue&, const AddArgs&) { open(); }
void copy(Queue&, const CopyArgs&) { open(); }
void rope(Queue&, const RopeArgs&) { open(); }
void round_bf16(Queue&, const RoundBf16Args&) { open(); }
void route_tokens(Queue&, const RouteTokensArgs&) { open(); }
void route_tokens_backward(Queue&, const RouteTokensBackwardArgs&) { open(); }
void balance_loss(Queue&, const BalanceLossArgs&) { open(); }
void count_experts(Queue&, const CountExpertsArgs&) { open(); }
void sort_rows(Queue&, const SortRowsArgs&) { open(); }
void swiglu(Queue&, const SwigluArgs&) { open(); }
void swiglu_backward(Queue&, const SwigluBackwardArgs&) { open(); }
void accumulate_unit(Queue&, const AccumulateUnitArgs&, double, float) { open(); }
void multiply(Queue&, const char*, const std::vector<cpu::GemmBlock>&) { open(); }
void multiply_codes(Queue&, const char*, const std::vector<cpu::GemmBlock>&) { open(); }
ConstTensor bf16_operand(Queue&, Scratch&, const ConstTensor& x) {
  open();
  return x;
}
Tensor bf16_place(Scratch&, int64_t, int64_t) {
  open();
  return {};
}
void pack_now(const ConstTensor&, const Tensor&) { open(); }
void pack_bf16(Queue&, const ConstTensor&, const Tensor&) { open(); }
std::vector<ConstTensor> bf16_operands(Queue&, Scratch&, const std::vector<ConstTensor>& matrices,
                                       const std::vector<int64_t>&) {
  open();
  return matrices;
}
void multiply_bf16(Queue&, Scratch&, const MultiplyBf16Args&) { open(); }
void add_weights_bf16(Queue&, Scratch&, const MultiplyWeightsBf16Args&) { open(); }
void rms_norm_sm90(Queue&, const RmsNormArgs&) { open(); }
void rms_norm_backward_inputs_sm90(Queue&, const RmsNormBackwardArgs&) { open(); }
void rms_norm_backward_weights_sm90(Queue&, const RmsNormWeightGradientArgs&) { open(); }
void mla_attention(Queue&, Scratch&, const MlaAttentionArgs&) { open(); }
void mla_attention_backward(Queue&, Scratch&, const MlaAttentionBackwardArgs&) { open(); }
void cross_entropy_sm90(Queue&, const CrossEntropyArgs&) { open(); }
void logit_gradients(Queue&, const LogitGradientsArgs&) { open(); }
void add_embedding_unit(Queue&, const ConstTensor&, const ConstTensor&, const GradientSum&) { open(); }
void add_parts(Queue&, const ConstTensor&, const Tensor&) { open(); }
void weigh_rows(Queue&, const WeighRowsArgs&) { open(); }
void encode_tiles(Queue&, const EncodeTilesArgs&) { open(); }
void round_rows(Queue&, const RoundRowsArgs&) { open(); }
void multiply_fp8(Queue&, Scratch&, const MultiplyFp8Args&) { open(); }
void add_weights_fp8(Queue&, Scratch&, const MultiplyWeightsFp8Args&) { open(); }
void multiply_fp8(Queue&, Scratch&, const MultiplyCodesFp8Args&) { open(); }
void add_weights_fp8(Queue&, Scratch&, const WeightsCodesFp8Args&) { open(); }
Fp8Blocks quantize_matrices(Queue&, Scratch&, const Fp8Matrices&, const std::vector<int64_t>&) {
  open();
  return {};
}
Fp8BothWays quantize_both_ways(Queue&, Scratch&, const Fp8Matrices&) {
  open();
  return {};
}
ConstTensor fp8_source(Queue&, Scratch&, const ConstTensor& x) {
  open();
  return x;
}
Fp8Groups fp8_groups(Queue&, Scratch&, std::vector<int64_t>) {
  open();
  return {};
}
Fp8Rows quantize_rows(Queue&, Scratch&, const ConstTensor&, const Fp8Scaling&) {
  open();
  return {};
}
Fp8Columns quantize_columns(Queue&, Scratch&, const ConstTensor&, const Fp8Scaling&, const Fp8Groups&) {
  open();
  return {};
}
Fp8Columns quantize_columns(Queue&, Scratch&, const TableRows&, const Fp8Scaling&, const Fp8Groups&) {
  open();
  return {};
}
std::pair<Fp8Rows, Fp8Columns> quantize_both(Queue&, Scratch&, Scratch&, const ConstTensor&, const Fp8Scaling&,
                                             const Fp8Groups&) {
  open();
  return {};
}
Fp8Rows gather_codes(Queue&, Scratch&, const Fp8Rows&, const ConstTensor&) {
  open();
  return {};
}
std::pair<Fp8Rows, Fp8Columns> quantize_weighed(Queue&, Scratch&, Scratch&, const TableRows&,
                                                const Fp8Scaling&, const Fp8Groups&) {
  open();
  return {};
}
SwigluCodes swiglu_codes(Queue&, Scratch&, Scratch&, const ConstTensor&, const Fp8Scaling&) {
  open();
  return {};
}
SwigluBackwardCodes swiglu_backward_codes(Queue&, Scratch&, Scratch&, const Fp8Rows&,
                                          const ConstTensor&, const Fp8Scaling&, const Fp8Scaling&,
                                          const Fp8Groups&) {
  open();
  return {};
}
void read_fp8(Queue&, const Fp8Rows&, const Tensor&) { open(); }

}  // namespace troupe::kernels::cuda
