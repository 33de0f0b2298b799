#include "kernels/cpu/isa.h"

#include <algorithm>
#include <atomic>
#include <string>

#include "kernels/tensor.h"

namespace troupe::kernels::cpu {
namespace {

std::vector<Isa> detect() {
  std::vector<Isa> found{Isa::portable};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      found.push_back(Isa::avx512);
    }
  }
  return found;
}

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> isa{detect().back()};
  return isa;
}

}  // namespace

const char* to_string(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "portable";
}

Isa current_isa() { return chosen().load(std::memory_order_relaxed); }

std::vector<Isa> available_isas() { return detect(); }

void force_isa(Isa isa) {
  const auto found = detect();
  if (std::find(found.begin(), found.end(), isa) == found.end()) {
    throw KernelError(std::string("instruction set ") + to_string(isa) +
                      " is not available here, the best is " + to_string(found.back()));
  }
  chosen() = isa;
}

}  // namespace troupe::kernels::cpu
