#include "kernels/arithmetic.h"

namespace troupe::kernels {

std::string_view name_of(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::sm_90a ? "sm_90a.1" : "cpu.1";
}

}  // namespace troupe::kernels
