#if !defined(TROUPE_ISA_PASS)

#include "kernels/ops/logits.h"

#include <string>

#include "kernels/cuda/sm90/head_sm90.h"
#include "kernels/math/scalar_math.h"
#include "kernels/profile.h"

#define TROUPE_ISA_FILE "kernels/cpu/logits.cpp"
#include "kernels/cpu/simd/for_each_isa.h"

namespace troupe::kernels {

using namespace cpu;

namespace {

/// A target, or -1.
int64_t checked_target(const char* what, const ConstTensor& targets, int64_t t, int64_t V) {
  const int64_t target = values<int32_t>(targets)[t];
  if (target >= -1 && target < V) return target;
  throw KernelError(std::string(what) + " target " + std::to_string(target) + " at row " +
                    std::to_string(t) + ", wanted -1 to " + std::to_string(V - 1));
}

}  // namespace

void cross_entropy(Queue& queue, const CrossEntropyArgs& args) {
  const OperatorLabel label("cross_entropy");
  const int64_t T = args.logits.rows(), V = args.logits.cols();
  expect_shape("cross_entropy logits", args.logits, DType::f32, {T, V});
  expect_shape("cross_entropy targets", args.targets, DType::i32, {T});
  expect_shape("cross_entropy losses", args.losses, DType::f32, {T});
  expect_shape("cross_entropy log_sums", args.log_sums, DType::f32, {T});
  if (V < 1)
    throw KernelError("cross_entropy logits " + describe(args.logits) + " have no columns");
  if (queue.arithmetic() == Arithmetic::sm_90a) return cuda::cross_entropy_sm90(queue, args);
  if (queue.is_cuda()) return cuda::cross_entropy(queue, args);
  const int64_t parts = part_count(queue, T, 6 * V);
  queue.run(parts, [args, T, V, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t target = checked_target("cross_entropy", args.targets, t, V);
      const float* row = values<float>(args.logits) + t * args.logits.row_stride;
      float greatest = 0;
      const float sum = TROUPE_ISA_CALL(exp_sum)(row, V, &greatest);
      // In f64, so that the loss and log_sum are rounded once.
      const double log_sum = static_cast<double>(greatest) + log_exact(static_cast<double>(sum));
      values<float>(args.log_sums)[t] = static_cast<float>(log_sum);
      values<float>(args.losses)[t] =
          target < 0 ? 0.0f : static_cast<float>(log_sum - static_cast<double>(row[target]));
    }
  });
}

void cross_entropy_backward(Queue& queue, const CrossEntropyBackwardArgs& args) {
  const OperatorLabel label("cross_entropy_backward");
  const int64_t T = args.logits.rows(), V = args.logits.cols();
  expect_shape("cross_entropy_backward logits", args.logits, DType::f32, {T, V});
  expect_shape("cross_entropy_backward targets", args.targets, DType::i32, {T});
  expect_shape("cross_entropy_backward log_sums", args.log_sums, DType::f32, {T});
  expect_shape("cross_entropy_backward dlogits", args.dlogits, DType::f32, {T, V});
  if (queue.is_cuda()) return cuda::cross_entropy_backward(queue, args);
  const int64_t parts = part_count(queue, T, 5 * V);
  queue.run(parts, [args, T, V, parts](int64_t part) {
    const auto [begin, end] = part_range(T, parts, part);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t target = checked_target("cross_entropy_backward", args.targets, t, V);
      TROUPE_ISA_CALL(backward_row)(args, t, target);
    }
  });
}

void sum_losses(Queue& queue, const SumLossesArgs& args) {
  const OperatorLabel label("sum_losses");
  const int64_t T = args.losses.count();
  expect_shape("sum_losses losses", args.losses, DType::f32, {T});
  expect_shape("sum_losses sum", args.sum, DType::f32, {1});
  if (queue.is_cuda()) return cuda::sum_losses(queue, args);
  queue.run(1, [args, T](int64_t) {
    double sum = 0;
    for (int64_t t = 0; t < T; ++t) sum += static_cast<double>(values<float>(args.losses)[t]);
    values<float>(args.sum)[0] = static_cast<float>(args.scale * sum);
  });
}

}  // namespace troupe::kernels

#else

/// `n` lanes, and -infinity behind them: exp of it is +0, and no maximum sees it.
inline F16 load_or_lowest(const float* p, int n) {
  if (n == 16) return load(p);
  float padded[16];
  for (int i = 0; i < 16; ++i) padded[i] = i < n ? p[i] : -std::numeric_limits<float>::infinity();
  return load(padded);
}

/// sum of exp(x - greatest) over 16 lanes and their tree. NaN and infinities end up in the sum.
inline float exp_sum(const float* x, int64_t V, float* greatest) {
  F16 most = set1(-std::numeric_limits<float>::infinity());
  for_lanes(V, [&](int64_t i, int n) { most = greater_of(load_or_lowest(x + i, n), most); });
  *greatest = greatest_lane(most);
  F16 sum = zero();
  for_lanes(V,
            [&](int64_t i, int n) { sum = sum + exp(load_or_lowest(x + i, n) - set1(*greatest)); });
  return sum_lanes(sum);
}

/// dlogits = scale * (exp(x - log_sum) - onehot).
inline void backward_row(const CrossEntropyBackwardArgs& args, int64_t t, int64_t target) {
  const int64_t V = args.logits.cols();
  const float* x = values<float>(args.logits) + t * args.logits.row_stride;
  float* dx = values<float>(args.dlogits) + t * args.dlogits.row_stride;
  if (target < 0) {
    std::memset(dx, 0, static_cast<size_t>(V) * sizeof(float));
    return;
  }
  const F16 log_sum = set1(values<float>(args.log_sums)[t]), scale = set1(args.scale);
  const F16 at_target = scale * (exp(set1(x[target]) - log_sum) - set1(1.0f));
  for_lanes(V, [&](int64_t i, int n) {
    store_lanes(dx + i, scale * exp(load_lanes(x + i, n) - log_sum), n);
  });
  store_first(dx + target, at_target, 1);
}

#endif
