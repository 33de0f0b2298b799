// Compiles the including file's kernels once per instruction set. Usage, in kernels/cpu/op.cpp:
//
//   #if !defined(TROUPE_ISA_PASS)
//   #define TROUPE_ISA_FILE "kernels/cpu/op.cpp"
//   #include <standard headers>
//   #include "kernels/cpu/simd/for_each_isa.h"
//   ... public functions: TROUPE_ISA_CALL(row_kernel)(arguments) ...
//   #else
//   ... kernels, written over simd.h's F16; they stand in namespace TROUPE_ISA_PASS ...
//   #endif
//
// The kernels come in namespaces portable, avx2 and avx512 (inside troupe::kernels::cpu), each
// compiled for that target. Standard headers are included before the targets change, so that no
// inline function of theirs is compiled for a machine that is not there.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/simd/isa.h"

#define TROUPE_ISA_PASS portable
namespace troupe::kernels::cpu::portable {
#include "kernels/cpu/simd/simd_portable.inl"
#include "kernels/cpu/simd/simd_common.inl"
#include TROUPE_ISA_FILE
}  // namespace troupe::kernels::cpu::portable
#undef TROUPE_ISA_PASS

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define TROUPE_ISA_PASS avx2
namespace troupe::kernels::cpu::avx2 {
#include "kernels/cpu/simd/simd_avx2.inl"
#include "kernels/cpu/simd/simd_common.inl"
#include TROUPE_ISA_FILE
}  // namespace troupe::kernels::cpu::avx2
#undef TROUPE_ISA_PASS
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512")
#define TROUPE_ISA_PASS avx512
namespace troupe::kernels::cpu::avx512 {
#include "kernels/cpu/simd/simd_avx512.inl"
#include "kernels/cpu/simd/simd_common.inl"
#include TROUPE_ISA_FILE
}  // namespace troupe::kernels::cpu::avx512
#undef TROUPE_ISA_PASS
#pragma GCC pop_options

/// Calls `function` of the current instruction set: TROUPE_ISA_CALL(row_kernel)(x, n).
#define TROUPE_ISA_CALL(function)                                                    \
  (current_isa() >= Isa::avx512  ? &avx512::function                                 \
   : current_isa() == Isa::avx2 ? &avx2::function                                    \
                                : &portable::function)
