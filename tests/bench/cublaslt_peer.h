// cuBLASLt as a peer of our products: BF16, and FP8 with block scales (cuBLAS 12.9 and later). The
// algorithm is the first that its heuristic offers, as PyTorch takes it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace troupe::tests {

inline void check_lt(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "cuBLASLt: %s: status %d\n", what, static_cast<int>(status));
  std::exit(1);
}

/// Row-major c [M, N] = op(a) [M, K] times op(b) [K, N], as the transposed product of columns.
struct LtProduct {
  const void* a;  ///< [M, K], or [K, M] when transpose_a
  const void* b;  ///< [K, N], or [N, K] when transpose_b
  void* c;
  int64_t M, N, K;
  bool transpose_a, transpose_b;
  cudaDataType_t operands;  ///< CUDA_R_16BF or CUDA_R_8F_E4M3
  cudaDataType_t result;
  const float* a_scales = nullptr;  ///< FP8: [K / 128, M], 1 x 128 tiles
  const float* b_scales = nullptr;  ///< FP8: blocks of 128 x 128, [N / 128, K / 128 padded to 4]
  bool b_tiles = false;             ///< FP8: b in 1 x 128 tiles too, [K / 128, N]
};

class LtPeer {
 public:
  explicit LtPeer(const LtProduct& p) : p_(p) {
    static cublasLtHandle_t handle = [] {
      cublasLtHandle_t h;
      check_lt(cublasLtCreate(&h), "create");
      return h;
    }();
    handle_ = handle;
    check_lt(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "desc");
    const cublasOperation_t first = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(CUBLASLT_MATMUL_DESC_TRANSA, first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, second);
    if (p.a_scales != nullptr) {
      const int32_t tiles = CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
      const int32_t blocks = CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, p.b_tiles ? tiles : blocks);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, tiles);
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.b_scales);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.a_scales);
    }
    first_ = p.transpose_b ? layout(p.operands, p.K, p.N) : layout(p.operands, p.N, p.K);
    second_ = p.transpose_a ? layout(p.operands, p.M, p.K) : layout(p.operands, p.K, p.M);
    result_ = layout(p.result, p.N, p.M);
    static void* workspace = [] {
      void* memory = nullptr;
      if (cudaMalloc(&memory, workspace_bytes) != cudaSuccess) std::exit(1);
      return memory;
    }();
    workspace_ = workspace;
    cublasLtMatmulPreference_t preference;
    check_lt(cublasLtMatmulPreferenceCreate(&preference), "preference");
    const size_t bytes = workspace_bytes;
    check_lt(cublasLtMatmulPreferenceSetAttribute(
                 preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes)),
             "workspace");
    int found = 0;
    offered_ = cublasLtMatmulAlgoGetHeuristic(handle_, desc_, first_, second_, result_, result_,
                                              preference, 1, &heuristic_,
                                              &found) == CUBLAS_STATUS_SUCCESS &&
               found > 0;
    cublasLtMatmulPreferenceDestroy(preference);
  }

  /// False where the library has no algorithm for the product.
  bool offered() const { return offered_; }

  void run(cudaStream_t stream) const {
    if (!offered_) return;
    const float one = 1.0f, zero = 0.0f;
    check_lt(cublasLtMatmul(handle_, desc_, &one, p_.b, first_, p_.a, second_, &zero, p_.c, result_,
                            p_.c, result_, &heuristic_.algo, workspace_, workspace_bytes, stream),
             "matmul");
  }

 private:
  static constexpr size_t workspace_bytes = 64 << 20;
  static cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t rows, int64_t cols) {
    cublasLtMatrixLayout_t out;
    check_lt(cublasLtMatrixLayoutCreate(&out, type, static_cast<uint64_t>(rows),
                                        static_cast<uint64_t>(cols), rows),
             "layout");
    return out;
  }
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check_lt(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)), "attribute");
  }

  LtProduct p_;
  cublasLtHandle_t handle_;
  cublasLtMatmulDesc_t desc_;
  cublasLtMatrixLayout_t first_, second_, result_;
  cublasLtMatmulHeuristicResult_t heuristic_;
  void* workspace_;
  bool offered_ = false;
};

}  // namespace troupe::tests
