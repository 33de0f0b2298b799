#include "kernels/optimizer.h"

#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.cuh"

namespace troupe::kernels::cuda {
namespace {

/// Fixed-point gradients as f32: the integer rounded to f64, times 2^-s (exact), rounded to f32.
__device__ float gradient_of(int64_t sum, double unit) {
  return __double2float_rn(__ll2double_rn(sum) * unit);
}

/// Lane i of 8 takes elements i, i + 8, ...; the same tree as the CPU's. By one warp.
__global__ void squared_norm_kernel(const int64_t* gradient, int64_t count, double unit,
                                    double* out) {
  const int lane = static_cast<int>(threadIdx.x);
  double sum = 0.0;
  const int64_t whole = (count + 15) / 16 * 16;  // the CPU adds zeros up to there
  for (int64_t i = lane; lane < 8 && i < whole; i += 8) {
    const double g = i < count ? static_cast<double>(gradient_of(gradient[i], unit)) : 0.0;
    sum = __fma_rn(g, g, sum);
  }
  for (int width = 4; width > 0; width /= 2) {
    sum = __dadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, width));
  }
  if (lane == 0) *out = sum;
}

__device__ float load(const float* p) { return *p; }
__device__ float load(const uint16_t* p) {
  return __uint_as_float(static_cast<uint32_t>(*p) << 16);
}
__device__ void store(float* p, float value) { *p = value; }
__device__ void store(uint16_t* p, float value) {  // nearest even; NaN stays NaN
  const uint32_t all = __float_as_uint(value);
  const bool is_nan = value != value;
  *p = static_cast<uint16_t>((is_nan ? all | 0x00400000u : all + 0x7fffu + (all >> 16 & 1u)) >> 16);
}

/// The order of cpu/optimizer.cpp.
template <class Moment>
void adamw_of(Queue& queue, const AdamWArgs& args, double unit) {
  const int64_t* const gradient = rows_of<int64_t>("adamw gradient", args.gradient).data;
  const float* const weight = rows_of<float>("adamw weight", args.weight).data;
  const Moment* const moment1 = rows_of<Moment>("adamw moment1", args.moment1).data;
  const Moment* const moment2 = rows_of<Moment>("adamw moment2", args.moment2).data;
  float* const new_weight = rows_of<float>("adamw new_weight", args.new_weight).data;
  Moment* const new_moment1 = rows_of<Moment>("adamw new_moment1", args.new_moment1).data;
  Moment* const new_moment2 = rows_of<Moment>("adamw new_moment2", args.new_moment2).data;
  const AdamWStep step = args.step;
  const float rest1 = 1.0f - step.beta1, rest2 = 1.0f - step.beta2;
  const float minus_rate = -step.learning_rate;
  const float minus_decay = -(step.learning_rate * args.weight_decay);
  for_each(queue, "adamw", args.gradient.count(), [=] __device__(int64_t i) {
    const float g = __fmul_rn(step.clip, gradient_of(gradient[i], unit));
    const float m = __fmaf_rn(step.beta1, load(moment1 + i), __fmul_rn(rest1, g));
    const float v = __fmaf_rn(step.beta2, load(moment2 + i), __fmul_rn(__fmul_rn(rest2, g), g));
    const float w = weight[i];
    const float root = __fsqrt_rn(__fdiv_rn(v, step.correction2));
    const float update = __fdiv_rn(__fdiv_rn(m, step.correction1), __fadd_rn(root, step.eps));
    store(new_moment1 + i, m);
    store(new_moment2 + i, v);
    new_weight[i] = __fmaf_rn(minus_rate, update, __fmaf_rn(minus_decay, w, w));
  });
}

double unit_of(int scale_bits) { return 1.0 / static_cast<double>(uint64_t{1} << scale_bits); }

}  // namespace

/// `args.sum` is in memory that the GPU reaches.
void squared_norm(Queue& queue, const SquaredNormArgs& args) {
  const int64_t* const gradient = rows_of<int64_t>("squared_norm gradient", args.gradient).data;
  const int64_t count = args.gradient.count();
  const double unit = unit_of(args.scale_bits);
  enqueue(queue, "squared_norm", [=, sum = args.sum](CUstream_st* stream, Fault*) {
    squared_norm_kernel<<<1, 32, 0, stream>>>(gradient, count, unit, sum);
  });
}

void adamw(Queue& queue, const AdamWArgs& args) {
  if (args.moment1.dtype == DType::bf16) {
    adamw_of<uint16_t>(queue, args, unit_of(args.scale_bits));
  } else {
    adamw_of<float>(queue, args, unit_of(args.scale_bits));
  }
}

void update_ema(Queue& queue, const UpdateEmaArgs& args) {
  const float* const weight = rows_of<float>("update_ema weight", args.weight).data;
  const float* const ema = rows_of<float>("update_ema ema", args.ema).data;
  float* const new_ema = rows_of<float>("update_ema new_ema", args.new_ema).data;
  const float rate = args.rate;
  for_each(queue, "update_ema", args.weight.count(), [=] __device__(int64_t i) {
    new_ema[i] = __fmaf_rn(rate, __fsub_rn(weight[i], ema[i]), ema[i]);
  });
}

}  // namespace troupe::kernels::cuda
