#include <string>

#include "kernels/cuda/gemm_bf16_tiles.cuh"
#include "kernels/cuda/gemm_bf16_wgmma.h"
#include "kernels/cuda/launch_sm90.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

namespace {

CUtensorMap bf16_map(const char* name, const uint16_t* data, int64_t rows, int64_t cols,
                     int box_rows) {
  return tensor_map(name, {.data = data,
                           .type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .element_bytes = 2,
                           .rows = rows,
                           .cols = cols,
                           .row_stride = cols,
                           .box_rows = box_rows,
                           .box_cols = 64,
                           .swizzled = true});
}

template <int kCols, int kStages, bool kOuterA, bool kOuterB, typename Result>
void run_tiles(const GemmBf16WgmmaArgs& x, void* c, cudaStream_t stream) {
  using Ring = Bf16Ring<kCols, kStages>;
  static_assert(Ring::bytes <= most_shared_bytes);
  const CUtensorMap a = kOuterA ? bf16_map("gemm_bf16_wgmma a", x.a, x.K, x.M, 64)
                                : bf16_map("gemm_bf16_wgmma a", x.a, x.M, x.K, 128);
  const CUtensorMap b = kOuterB ? bf16_map("gemm_bf16_wgmma b", x.b, x.K, x.N, 64)
                                : bf16_map("gemm_bf16_wgmma b", x.b, x.N, x.K, kCols / 2);
  const Bf16TilesArgs args{.rows = static_cast<int>(x.M),
                           .cols = static_cast<int>(x.N),
                           .k_blocks = static_cast<int>((x.K + 63) / 64),
                           .c = c};
  launch("gemm_bf16_wgmma", bf16_tiles<kCols, kStages, kOuterA, kOuterB, Result>,
         dim3(multiprocessors), 384, Ring::bytes, 0, stream, a, b, args);
}

template <bool kOuterA, bool kOuterB>
void run(const GemmBf16WgmmaArgs& x, cudaStream_t stream) {
  if (x.c != nullptr) return run_tiles<256, 4, kOuterA, kOuterB, __nv_bfloat16>(x, x.c, stream);
  run_tiles<256, 4, kOuterA, kOuterB, float>(x, x.c_f32, stream);
}

}  // namespace

void gemm_bf16_wgmma(const GemmBf16WgmmaArgs& args, cudaStream_t stream) {
  if (args.M == 0) return;
  expect_multiple("gemm_bf16_wgmma N", args.N, 8);
  expect_multiple(args.transpose_a ? "gemm_bf16_wgmma M (a transposed)" : "gemm_bf16_wgmma K",
                  args.transpose_a ? args.M : args.K, 8);
  if (args.transpose_b) expect_multiple("gemm_bf16_wgmma K", args.K, 8);
  if (args.transpose_a && args.transpose_b) {
    throw KernelError("gemm_bf16_wgmma transposes a and b, wanted at most one of them");
  }
  if (args.transpose_b) return run<false, false>(args, stream);
  if (args.transpose_a) return run<true, true>(args, stream);
  run<false, true>(args, stream);
}

}  // namespace troupe::kernels::cuda
