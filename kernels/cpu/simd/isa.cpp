#include "kernels/cpu/simd/isa.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "kernels/cpu/gemm/gemm_pairs.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cpu {
namespace {

std::vector<Isa> find() {
  std::vector<Isa> found{Isa::portable};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      found.push_back(Isa::avx512);
      if (__builtin_cpu_supports("avx512bf16") && sums_pairs_in_turn()) found.push_back(Isa::avx512_bf16);
    }
  }
  return found;
}

const std::vector<Isa>& detect() {
  static const std::vector<Isa> found = find();
  return found;
}

Isa fastest() {
  const Isa best = detect().back();
  return best == Isa::avx512_bf16 && !sums_pairs_faster() ? Isa::avx512 : best;
}

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{fastest()};
  return isa;
}

}  // namespace

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "portable";
  }
}

Isa current_isa() { return chosen().load(std::memory_order_relaxed); }

std::vector<Isa> available_isas() { return detect(); }

void force_isa(Isa isa) {
  const auto& found = detect();
  if (std::find(found.begin(), found.end(), isa) == found.end()) {
    throw KernelError(std::string("instruction set ") + to_string(isa) +
                      " is not available here, the best is " + to_string(found.back()));
  }
  chosen() = isa;
}

}  // namespace troupe::kernels::cpu
