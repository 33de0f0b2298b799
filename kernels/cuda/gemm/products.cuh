// What the products of linear layers in BF16 and in FP8 have in common: how operands lie in memory,
// and how the units of groups go into their sums.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/gemm/product_result.h"
#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels::cuda {

inline int64_t up_to(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

inline bool is_aligned(const void* pointer, uintptr_t to) {
  return reinterpret_cast<uintptr_t>(pointer) % to == 0;
}

/// Whether the copy engine can read its rows.
inline bool is_bf16_operand(const ConstTensor& x) {
  return x.dtype == DType::bf16 && x.row_stride % 8 == 0 && is_aligned(x.data, 16);
}

/// x [T, D], f32 or bf16, as bf16 rows `width` apart, zeros behind the last of each; `width` is a
/// multiple of 8.
void pack_to(Queue& queue, const ConstTensor& x, uint16_t* to, int64_t width);

/// Rows of b from one group's matrix to the next one's; -1 if they do not lie so.
int64_t rows_between(const std::vector<ConstTensor>& b);

/// Whether columns up to a multiple of `of` can be written where c's rows are.
inline bool fits_as_result(const Tensor& c, int64_t of) {
  return c.cols() % of == 0 && c.row_stride % of == 0 &&
         is_aligned(c.data, static_cast<uintptr_t>(of * size_of(c.dtype)));
}

/// Units of groups on their way to the fixed-point sums: from the accumulators where nobody
/// watches, else by way of f32. The same bits.
class UnitsOfGroups {
 public:
  /// Units are [M, N]; those that go by way of f32 lie in rows `width` apart, one group behind the
  /// other. Sums that the product does not begin itself are begun.
  UnitsOfGroups(Queue& queue, Scratch& scratch, const char* what,
                const std::vector<GradientSum>& into, const std::vector<int64_t>& offsets,
                int64_t M, int64_t N, int64_t width);

  bool are_direct() const { return units_.empty(); }
  /// By group: sums, or units.
  const std::vector<void*>& results() const { return results_; }
  const FixedPointRule& rule() const { return rule_; }
  /// The product has been enqueued.
  void finish() const;

 private:
  Queue& queue_;
  Scratch& scratch_;
  const std::vector<GradientSum>& into_;
  const std::vector<int64_t>& offsets_;
  int64_t N_;
  std::vector<Tensor> units_;
  std::vector<void*> results_;
  FixedPointRule rule_{};
};

}  // namespace troupe::kernels::cuda
