// How the products of gemm_bf16_wgmma.h and gemm_fp8_wgmma.h write their results.
#pragma once

#include <cstdint>

namespace troupe::kernels::cuda {

enum class ProductResult : uint8_t {
  bf16,
  f32,
  f32_of_bf16,  ///< f32 that were rounded to bfloat16
  fixed_point   ///< added to 64-bit fixed-point sums (kernels/ops/fixed_point.h)
};

/// How units become fixed-point numbers, and what is in their sums.
struct FixedPointRule {
  double scale;      ///< 2^s
  float bound;       ///< the least f32 that is out of range
  uint32_t* faults;  ///< gets UnitFault bits
  bool is_shared;    ///< others add to the sum meanwhile
  bool is_first;     ///< nothing is there yet: stored, not added; an empty group gets zeros
};

}  // namespace troupe::kernels::cuda
