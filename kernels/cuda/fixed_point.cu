#include "kernels/ops/fixed_point.h"

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/fixed_point.h"

namespace troupe::kernels::cuda {

/// Integer addition has no order: units of several streams meet in the sum by atomics.
void accumulate_unit(Queue& queue, const AccumulateUnitArgs& args, double scale, float bound) {
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(unsigned));
  const float* const unit = rows_of<float>("accumulate_unit unit", args.unit).data;
  auto* const sum =
      reinterpret_cast<unsigned long long*>(rows_of<int64_t>("accumulate_unit sum", args.sum).data);
  auto* const faults = reinterpret_cast<unsigned*>(args.faults);
  const bool is_shared = args.locks != nullptr;
  for_each(queue, "accumulate_unit", args.unit.count(), [=] __device__(int64_t i) {
    const float x = unit[i];
    if (!(fabsf(x) < bound)) {
      const bool is_finite = fabsf(x) <= std::numeric_limits<float>::max();
      atomicOr(faults, is_finite ? unsigned{unit_out_of_range} : unsigned{unit_not_finite});
      return;
    }
    // f32 to f64 and times 2^s are exact; the one rounding is to the integer, to nearest even.
    const long long rounded = __double2ll_rn(static_cast<double>(x) * scale);
    if (is_shared) {
      atomicAdd(sum + i, static_cast<unsigned long long>(rounded));
    } else {
      sum[i] += static_cast<unsigned long long>(rounded);
    }
  });
}

void add_fixed_point(Queue& queue, const AddFixedPointArgs& args) {
  const auto* const addend = reinterpret_cast<const unsigned long long*>(
      rows_of<int64_t>("add_fixed_point addend", args.addend).data);
  auto* const sum =
      reinterpret_cast<unsigned long long*>(rows_of<int64_t>("add_fixed_point sum", args.sum).data);
  for_each(queue, "add_fixed_point", args.sum.count(),
           [=] __device__(int64_t i) { sum[i] += addend[i]; });
}

void round_sum(Queue& queue, const RoundedSumArgs& args) {
  const int64_t* const sum = rows_of<int64_t>("round_sum sum", args.sum).data;
  float* const rounded = rows_of<float>("round_sum rounded", args.rounded).data;
  for_each(queue, "round_sum", args.sum.count(), [=] __device__(int64_t i) {
    rounded[i] = __double2float_rn(__ll2double_rn(sum[i]));
  });
}

void set_rounded_sum(Queue& queue, const RoundedSumArgs& args) {
  int64_t* const sum = rows_of<int64_t>("set_rounded_sum sum", args.sum).data;
  const float* const rounded = rows_of<float>("set_rounded_sum rounded", args.rounded).data;
  for_each(queue, "set_rounded_sum", args.sum.count(),
           [=] __device__(int64_t i) { sum[i] = __float2ll_rn(rounded[i]); });
}

}  // namespace troupe::kernels::cuda
