// Hopper's matrix products of a warpgroup (wgmma): 64 rows of a times N columns of b, from shared
// memory into registers. Tiles lie in rows of 128 bytes as the copy engine's 128-byte swizzle
// writes them.
//
// Registers of thread t of a warpgroup (w = t / 32, l = t % 32): d[4 j + 2 h + i] is row
// 16 w + l / 4 + 8 h, column 8 j + 2 (l % 4) + i, for h, i in {0, 1}.
// Source: PTX ISA 9.0, section 9.7.15 (asynchronous warpgroup-level matrix instructions).
#pragma once

#include <cstdint>

namespace troupe::kernels::cuda {

/// Descriptor of a tile whose rows of 128 bytes run along the inner dimension. `address` is in
/// shared memory; groups of 8 rows are 1024 bytes apart. Plus 2 a step of 32 bytes.
__device__ inline uint64_t inner_tile(uint32_t address) {
  return uint64_t{(address & 0x3ffff) >> 4} | uint64_t{1} << 16 | uint64_t{64} << 32 |
         uint64_t{1} << 62;
}

/// Descriptor of a 16-bit tile whose rows of 128 bytes, one a step of the inner dimension, hold 64
/// of the outer one; panels of the next 64 are `panel_bytes` apart. Plus 128 a step of 16 rows.
__device__ inline uint64_t outer_tile(uint32_t address, uint32_t panel_bytes) {
  return uint64_t{(address & 0x3ffff) >> 4} | uint64_t{panel_bytes >> 4} << 16 |
         uint64_t{64} << 32 | uint64_t{1} << 62;
}

/// Before the first product of a batch: registers and shared memory are as written.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` committed batches are under way.
template <int kPending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Keeps the compiler from moving uses of registers across this point.
template <int kCount>
__device__ inline void pin(float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
}

/// d (+)= 64 x 32 of a times 32 x N of b, E4M3.
template <int kN>
struct ProductE4m3;
/// d (+)= 64 x 16 of a times 16 x N of b, bfloat16. `kOuter...`: see outer_tile.
template <int kN, bool kOuterA, bool kOuterB>
struct ProductBf16;
/// The same with a in registers, as the sums of another product leave it: a[0] to a[3] are pairs of
/// columns, (row, column) = (0, 0), (8, 0), (0, 8), (8, 8) from the thread's own on.
template <int kN, bool kOuterB>
struct ProductBf16OfRegisters;

#define TROUPE_D8(C, i) \
  C(d[i]), C(d[i + 1]), C(d[i + 2]), C(d[i + 3]), C(d[i + 4]), C(d[i + 5]), C(d[i + 6]), C(d[i + 7])
#define TROUPE_D16(C, i) TROUPE_D8(C, i), TROUPE_D8(C, i + 8)
#define TROUPE_D32(C, i) TROUPE_D16(C, i), TROUPE_D16(C, i + 16)
#define TROUPE_D64(C, i) TROUPE_D32(C, i), TROUPE_D32(C, i + 32)
#define TROUPE_D96(C, i) TROUPE_D64(C, i), TROUPE_D32(C, i + 64)
#define TROUPE_D128(C, i) TROUPE_D64(C, i), TROUPE_D64(C, i + 64)
#define TROUPE_ADDED(x) "+f"(x)
#define TROUPE_SET(x) "=f"(x)
#define TROUPE_N8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define TROUPE_N16 TROUPE_N8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define TROUPE_N32 TROUPE_N16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TROUPE_N64                                                   \
  TROUPE_N32                                                         \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define TROUPE_N96                                                   \
  TROUPE_N64                                                         \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define TROUPE_N128                                                              \
  TROUPE_N96                                                                     \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

#define TROUPE_PRODUCT_E4M3(N, COUNT, LIST, NAMES, A, B, P)                                    \
  template <>                                                                                  \
  struct ProductE4m3<N> {                                                                      \
    __device__ static void add(float (&d)[COUNT], uint64_t a, uint64_t b, bool add_to) {       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" P                                      \
                   ", 0;\n"                                                                    \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 {" NAMES "}, %" A \
                   ", %" B ", p, 1, 1;\n}"                                                     \
                   : LIST(TROUPE_ADDED, 0)                                                     \
                   : "l"(a), "l"(b), "r"(int{add_to}));                                        \
    }                                                                                          \
  };

TROUPE_PRODUCT_E4M3(16, 8, TROUPE_D8, TROUPE_N8, "8", "9", "10")
TROUPE_PRODUCT_E4M3(32, 16, TROUPE_D16, TROUPE_N16, "16", "17", "18")
TROUPE_PRODUCT_E4M3(64, 32, TROUPE_D32, TROUPE_N32, "32", "33", "34")
TROUPE_PRODUCT_E4M3(128, 64, TROUPE_D64, TROUPE_N64, "64", "65", "66")

#define TROUPE_PRODUCT_BF16(N, COUNT, LIST, NAMES, A, B, P, TA, TB)                            \
  template <bool kOuterA, bool kOuterB>                                                        \
  struct ProductBf16<N, kOuterA, kOuterB> {                                                    \
    __device__ static void add(float (&d)[COUNT], uint64_t a, uint64_t b, bool add_to) {       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" P                                      \
                   ", 0;\n"                                                                    \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, %" A \
                   ", %" B ", p, 1, 1, %" TA ", %" TB ";\n}"                                   \
                   : LIST(TROUPE_ADDED, 0)                                                     \
                   : "l"(a), "l"(b), "r"(int{add_to}), "n"(int{kOuterA}), "n"(int{kOuterB}));  \
    }                                                                                          \
    /* The same from 0: what d was is free meanwhile. */                                       \
    __device__ static void set(float (&d)[COUNT], uint64_t a, uint64_t b) {                    \
      asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, %" A \
                   ", %" B ", %" P ", 1, 1, %" TA ", %" TB ";"                                 \
                   : LIST(TROUPE_SET, 0)                                                       \
                   : "l"(a), "l"(b), "n"(0), "n"(int{kOuterA}), "n"(int{kOuterB}));            \
    }                                                                                          \
  };

TROUPE_PRODUCT_BF16(64, 32, TROUPE_D32, TROUPE_N32, "32", "33", "34", "35", "36")
TROUPE_PRODUCT_BF16(128, 64, TROUPE_D64, TROUPE_N64, "64", "65", "66", "67", "68")
TROUPE_PRODUCT_BF16(192, 96, TROUPE_D96, TROUPE_N96, "96", "97", "98", "99", "100")
TROUPE_PRODUCT_BF16(256, 128, TROUPE_D128, TROUPE_N128, "128", "129", "130", "131", "132")

#define TROUPE_PRODUCT_BF16_OF_REGISTERS(N, COUNT, LIST, NAMES, A0, A1, A2, A3, B, P, TB)        \
  template <bool kOuterB>                                                                        \
  struct ProductBf16OfRegisters<N, kOuterB> {                                                    \
    __device__ static void add(float (&d)[COUNT], const uint32_t* a, uint64_t b, bool add_to) {  \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" P                                        \
                   ", 0;\n"                                                                      \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, {%" A0 \
                   ", %" A1 ", %" A2 ", %" A3 "}, %" B ", p, 1, 1, %" TB ";\n}"                  \
                   : LIST(TROUPE_ADDED, 0)                                                       \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add_to}),       \
                     "n"(int{kOuterB}));                                                         \
    }                                                                                            \
  };

TROUPE_PRODUCT_BF16_OF_REGISTERS(64, 32, TROUPE_D32, TROUPE_N32, "32", "33", "34", "35", "36", "37",
                                 "38")
TROUPE_PRODUCT_BF16_OF_REGISTERS(128, 64, TROUPE_D64, TROUPE_N64, "64", "65", "66", "67", "68",
                                 "69", "70")
TROUPE_PRODUCT_BF16_OF_REGISTERS(192, 96, TROUPE_D96, TROUPE_N96, "96", "97", "98", "99", "100",
                                 "101", "102")
TROUPE_PRODUCT_BF16_OF_REGISTERS(256, 128, TROUPE_D128, TROUPE_N128, "128", "129", "130", "131",
                                 "132", "133", "134")

}  // namespace troupe::kernels::cuda
