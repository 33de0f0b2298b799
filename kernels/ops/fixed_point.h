// Law 2: across units of work sums are exact. A unit's gradient or loss, in FP32, becomes a 64-bit
// fixed-point integer (value * 2^s, rounded to nearest even), and integer addition has no order.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// What the elements of a unit have shown. Bits are set with fetch_or and never cleared by kernels.
enum UnitFault : uint32_t {
  unit_out_of_range = 1,  ///< |x| * 2^s >= 2^62 / units: the sum could overflow
  unit_not_finite = 2,    ///< NaN or infinity
};

/// Lets several queues add to one sum, of which every 16,384 elements are a part of their own.
class FixedPointLocks {
 public:
  static constexpr int64_t stride = 16384;
  struct Part {
    std::mutex mutex;
    /// It counts as zero, whatever stands there: the next unit is stored without reading it. Under the mutex.
    bool is_cleared = false;
  };
  explicit FixedPointLocks(int64_t elements)
      : parts_(static_cast<size_t>((elements + stride - 1) / stride)) {}
  Part& of(int64_t element) { return parts_[static_cast<size_t>(element / stride)]; }

 private:
  std::vector<Part> parts_;
};

/// 2^s, and the least f32 that is out of range in a tensor of `units` units. Throws KernelError if
/// they are not as AccumulateUnitArgs has them.
struct FixedPointRange {
  double scale;
  float bound;
};
FixedPointRange fixed_point_range(int scale_bits, int64_t units);

/// Arguments of `accumulate_unit`. An element that is out of range or not finite adds nothing.
struct AccumulateUnitArgs {
  ConstTensor unit;               ///< f32, any shape
  int scale_bits;                 ///< s: 0 to 62
  int64_t units;                  ///< U: how many units this tensor has in the step
  Tensor sum;                     ///< in, out: i64, as many elements as `unit`
  std::atomic<uint32_t>* faults;  ///< gets UnitFault bits; outlives the operation
  FixedPointLocks* locks;         ///< null: nobody else adds to `sum`, and none of it is cleared
};

/// sum += round(unit * 2^s). On the host a part of the sum that is cleared is zero before.
void accumulate_unit(Queue& queue, const AccumulateUnitArgs& args);

/// The same for one number, at once: a loss. Returns 0 and sets the fault where it must.
int64_t to_fixed_point(float value, int scale_bits, int64_t units, uint32_t& faults);

/// value * 2^-s: the f64 nearest to the integer, scaled (exact), for integers of any size.
double from_fixed_point(int64_t value, int scale_bits);

/// sum += addend, integers.
struct AddFixedPointArgs {
  ConstTensor addend;  ///< i64
  Tensor sum;          ///< in, out: i64
};

void add_fixed_point(Queue& queue, const AddFixedPointArgs& args);

/// A sum as `adamw` takes it, in half of its bytes: f32(f64(integer)), not scaled. An f32 of that size is an
/// integer, so it goes back into a sum without a further rounding, and adamw makes the same of both.
struct RoundedSumArgs {
  Tensor sum;      ///< i64; in of round_sum, out of set_rounded_sum
  Tensor rounded;  ///< f32, as many elements; the other way round
};
void round_sum(Queue& queue, const RoundedSumArgs& args);
void set_rounded_sum(Queue& queue, const RoundedSumArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void add_fixed_point(Queue& queue, const AddFixedPointArgs& args);
void round_sum(Queue& queue, const RoundedSumArgs& args);
void set_rounded_sum(Queue& queue, const RoundedSumArgs& args);
}  // namespace cuda

}  // namespace troupe::kernels
