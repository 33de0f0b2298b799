#if !defined(TROUPE_ISA_PASS)

#include <string>

#include "kernels/cpu/row_type.h"
#include "kernels/cuda/sm90/norm_sm90.h"
#include "kernels/ops/norm.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/norm.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

void expect_more(const char* what, const Queue& queue, const ConstTensor& dy, const ConstTensor& more) {
  if (more.data == nullptr) return;
  expect_shape(what, more, DType::bf16, {dy.rows(), dy.cols()});
  if (queue.arithmetic() == Arithmetic::sm_90a && dy.dtype == DType::bf16) return;
  throw KernelError(std::string(what) + " is " + describe(more) +
                    ", wanted none but beside dy in bf16, in the arithmetic sm_90a");
}

}  // namespace

void rms_norm(Queue& queue, const RmsNormArgs& args) {
  const OperatorLabel label("rms_norm");
  const int64_t T = args.x.rows(), D = args.x.cols();
  expect_shape("rms_norm x", args.x, row_type(queue, args.x), {T, D});
  expect_shape("rms_norm weight", args.weight, DType::f32, {D});
  expect_shape("rms_norm y", args.y, row_type(queue, args.y), {T, D});
  expect_shape("rms_norm inverse_rms", args.inverse_rms, DType::f32, {T});
  if (queue.arithmetic() == Arithmetic::sm_90a) return cuda::rms_norm_sm90(queue, args);
  if (queue.is_cuda()) return cuda::rms_norm(queue, args);
  const int64_t parts = part_count(queue, T, D / 2);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(forward_rows)(args, begin, end);
  });
}

void rms_norm_backward_inputs(Queue& queue, const RmsNormBackwardArgs& args) {
  const OperatorLabel label("rms_norm_backward_inputs");
  const int64_t T = args.x.rows(), D = args.x.cols();
  expect_shape("rms_norm_backward dy", args.dy, row_type(queue, args.dy), {T, D});
  expect_shape("rms_norm_backward x", args.x, row_type(queue, args.x), {T, D});
  expect_shape("rms_norm_backward weight", args.weight, DType::f32, {D});
  expect_shape("rms_norm_backward inverse_rms", args.inverse_rms, DType::f32, {T});
  if (args.residual.data) expect_shape("rms_norm_backward residual", args.residual, DType::f32, {T, D});
  expect_shape("rms_norm_backward dx", args.dx, row_type(queue, args.dx), {T, D});
  expect_more("rms_norm_backward dy_more", queue, args.dy, args.dy_more);
  if (queue.arithmetic() == Arithmetic::sm_90a) return cuda::rms_norm_backward_inputs_sm90(queue, args);
  if (queue.is_cuda()) return cuda::rms_norm_backward_inputs(queue, args);
  const int64_t parts = part_count(queue, T, D);
  queue.run(parts, [args, T, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    TROUPE_ISA_CALL(backward_rows)(args, begin, end);
  });
}

void rms_norm_backward_weights(Queue& queue, const RmsNormWeightGradientArgs& args) {
  const OperatorLabel label("rms_norm_backward_weights");
  const int64_t T = args.x.rows(), D = args.x.cols();
  expect_shape("rms_norm_backward_weights dy", args.dy, row_type(queue, args.dy), {T, D});
  expect_shape("rms_norm_backward_weights x", args.x, row_type(queue, args.x), {T, D});
  expect_shape("rms_norm_backward_weights inverse_rms", args.inverse_rms, DType::f32, {T});
  expect_shape("rms_norm_backward_weights dweight", args.dweight, DType::f32, {D});
  expect_more("rms_norm_backward_weights dy_more", queue, args.dy, args.dy_more);
  const int64_t groups = (D + 15) / 16;  // parts own columns: each sum stays one chain over rows
  if (queue.arithmetic() == Arithmetic::sm_90a) return cuda::rms_norm_backward_weights_sm90(queue, args);
  if (queue.is_cuda()) return cuda::rms_norm_backward_weights(queue, args);
  const int64_t parts = part_count(queue, groups, T * 16);
  queue.run(parts, [args, groups, parts, D](int64_t part) {
    const auto [begin, end] = part_range(groups, parts, part);
    TROUPE_ISA_CALL(weight_columns)(args, begin * 16, std::min(D, end * 16));
  });
}

}  // namespace troupe::kernels

#else

inline void forward_rows(const RmsNormArgs& args, int64_t begin, int64_t end) {
  const int64_t D = args.x.cols();
  const float* weight = values<float>(args.weight);
  for (int64_t t = begin; t < end; ++t) {
    const float* x = values<float>(args.x) + t * args.x.row_stride;
    float* y = values<float>(args.y) + t * args.y.row_stride;
    const float mean = dot(x, x, D) / static_cast<float>(D);
    const float inverse = 1.0f / std::sqrt(mean + args.eps);
    values<float>(args.inverse_rms)[t] = inverse;
    for_lanes(D, [&](int64_t i, int n) {
      const F16 scaled = load_lanes(x + i, n) * set1(inverse);
      store_lanes(y + i, scaled * load_lanes(weight + i, n), n);
    });
  }
}

inline void backward_rows(const RmsNormBackwardArgs& args, int64_t begin, int64_t end) {
  const int64_t D = args.x.cols();
  const float* weight = values<float>(args.weight);
  for (int64_t t = begin; t < end; ++t) {
    const float* x = values<float>(args.x) + t * args.x.row_stride;
    const float* dy = values<float>(args.dy) + t * args.dy.row_stride;
    float* dx = values<float>(args.dx) + t * args.dx.row_stride;
    const float* residual = args.residual.data ? values<float>(args.residual) + t * args.residual.row_stride : nullptr;
    const float inverse = values<float>(args.inverse_rms)[t];
    F16 sum = zero();
    for_lanes(D, [&](int64_t i, int n) {
      const F16 g = load_lanes(dy + i, n) * load_lanes(weight + i, n);
      sum = fma(g, load_lanes(x + i, n), sum);
    });
    const float mean = sum_lanes(sum) / static_cast<float>(D);
    const float slope = mean * inverse * inverse;
    for_lanes(D, [&](int64_t i, int n) {
      const F16 g = load_lanes(dy + i, n) * load_lanes(weight + i, n);
      const F16 rest = fma(load_lanes(x + i, n), set1(-slope), g);
      const F16 through = rest * set1(inverse);
      store_lanes(dx + i, residual ? load_lanes(residual + i, n) + through : through, n);
    });
  }
}

inline void weight_columns(const RmsNormWeightGradientArgs& args, int64_t begin, int64_t end) {
  const int64_t T = args.x.rows();
  for_lanes(end - begin, [&](int64_t i, int n) {
    F16 sum = zero();
    for (int64_t t = 0; t < T; ++t) {
      const float* x = values<float>(args.x) + t * args.x.row_stride + begin + i;
      const float* dy = values<float>(args.dy) + t * args.dy.row_stride + begin + i;
      const F16 normalised = load_lanes(x, n) * set1(values<float>(args.inverse_rms)[t]);
      sum = fma(load_lanes(dy, n), normalised, sum);
    }
    store_lanes(values<float>(args.dweight) + begin + i, sum, n);
  });
}

#endif
