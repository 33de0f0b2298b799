// What `troupe bench kernels` measures: families of kernels, what bounds each, and what is wanted of it on an H200.
#pragma once

#include <string>
#include <vector>

namespace troupe::deploy::kernel_bench {

/// The rate that a kernel cannot exceed, measured in the same run.
enum class Bound { copy, bf16_products, fp8_products };
const char* name_of(Bound bound);  ///< "copy", "BF16 GEMM" or "FP8 GEMM"

/// What a target is a target of. `ratio`: the peer's time over ours; `share`: of the bound, 1 is all of it.
enum class Quantity { ratio, share, tflops, terabytes_a_second, microseconds };
const char* name_of(Quantity quantity);

struct Target {
  Quantity quantity;
  double wanted;  ///< at least; of microseconds at most
  bool of_mean;   ///< of the family's geometric mean; else of each row

  bool is_met_by(double found) const {
    return quantity == Quantity::microseconds ? found <= wanted : found >= wanted;
  }
};
std::string describe(const Target& target);  ///< ">= 1.10 x", ">= 88 %", ">= 900 TFLOPS", "<= 10 us"

struct Family {
  std::string name;
  Bound bound;
  std::vector<Target> targets = {};
};

/// All of them, in the order of the table.
const std::vector<Family>& families();

/// Those whose name has one of `parts` in it; all if there are no parts. Throws std::runtime_error, with all names, if
/// a part is in none.
std::vector<Family> families_with(const std::vector<std::string>& parts);

}  // namespace troupe::deploy::kernel_bench
