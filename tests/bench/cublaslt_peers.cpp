// cuBLASLt as a library of peers for `troupe bench kernels`: BF16, and FP8 with block scales (cuBLAS 12.9 and later).
// The algorithm is the first that its heuristic offers, as PyTorch takes it.
#include <cublasLt.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "deploy/bench/kernels/peers.h"

namespace troupe::tests {
namespace {

using deploy::kernel_bench::PeerCalls;
using deploy::kernel_bench::PeerProduct;
using deploy::kernel_bench::PeerType;

struct Failure {
  std::string what;
};

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw Failure{std::string(what) + ": " + cublasLtGetStatusString(status)};
}

template <auto kDestroy>
struct Destroy {
  template <class T>
  void operator()(T* handle) const {
    kDestroy(handle);
  }
};
using Desc = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

cublasLtHandle_t handle() {
  static const cublasLtHandle_t its = [] {
    cublasLtHandle_t made;
    check(cublasLtCreate(&made), "cublasLtCreate");
    return made;
  }();
  return its;
}

cudaDataType_t type_of(PeerType type) {
  return type == PeerType::bf16 ? CUDA_R_16BF : type == PeerType::e4m3 ? CUDA_R_8F_E4M3 : CUDA_R_32F;
}

Layout layout(PeerType type, int64_t rows, int64_t cols) {
  cublasLtMatrixLayout_t made;
  check(cublasLtMatrixLayoutCreate(&made, type_of(type), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols),
                                   rows),
        "layout");
  return Layout(made);
}

/// The product as cuBLASLt has it, which counts by columns: the transposed result, b first.
class Product {
 public:
  explicit Product(const PeerProduct& p) : p_(p) {
    cublasLtMatmulDesc_t made;
    check(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
    desc_.reset(made);
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
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
    cublasLtMatmulPreference_t preference;
    check(cublasLtMatmulPreferenceCreate(&preference), "preference");
    const Preference owner(preference);
    const auto bytes = static_cast<size_t>(p.workspace_bytes);
    check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                               sizeof(bytes)),
          "workspace");
    int found = 0;
    is_offered_ = cublasLtMatmulAlgoGetHeuristic(handle(), desc_.get(), first_.get(), second_.get(), result_.get(),
                                                 result_.get(), preference, 1, &heuristic_,
                                                 &found) == CUBLAS_STATUS_SUCCESS &&
                  found > 0;
  }

  bool is_offered() const { return is_offered_; }

  void run(cudaStream_t stream) const {
    const float one = 1.0f, zero = 0.0f;
    check(cublasLtMatmul(handle(), desc_.get(), &one, p_.b, first_.get(), p_.a, second_.get(), &zero, p_.c,
                         result_.get(), p_.c, result_.get(), &heuristic_.algo, p_.workspace,
                         static_cast<size_t>(p_.workspace_bytes), stream),
          "cublasLtMatmul");
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(desc_.get(), attribute, &value, sizeof(value)), "attribute of a product");
  }

  const PeerProduct p_;
  Desc desc_;
  Layout first_, second_, result_;
  cublasLtMatmulHeuristicResult_t heuristic_{};
  bool is_offered_ = false;
};

/// 0 if f() succeeds, else 1 and what was wrong.
template <class F>
int32_t guarded(char* error, int64_t error_bytes, F f) {
  try {
    f();
    return 0;
  } catch (const Failure& failure) {
    std::snprintf(error, static_cast<size_t>(error_bytes), "%s", failure.what.c_str());
    return 1;
  } catch (const std::exception& failure) {  // none may cross an interface of C
    std::snprintf(error, static_cast<size_t>(error_bytes), "%s", failure.what());
    return 1;
  }
}

int32_t prepare(const PeerProduct* wanted, void** product, char* error, int64_t error_bytes) {
  return guarded(error, error_bytes, [&] {
    auto made = std::make_unique<Product>(*wanted);
    *product = made->is_offered() ? made.release() : nullptr;
  });
}

int32_t run(const void* product, void* stream, char* error, int64_t error_bytes) {
  return guarded(error, error_bytes,
                 [&] { static_cast<const Product*>(product)->run(static_cast<cudaStream_t>(stream)); });
}

void release(void* product) { delete static_cast<Product*>(product); }

}  // namespace
}  // namespace troupe::tests

extern "C" const troupe::deploy::kernel_bench::PeerCalls* troupe_kernel_peers() {
  using namespace troupe::tests;
  static const std::string build = std::to_string(cublasLtGetVersion());
  static const PeerCalls calls{.version = troupe::deploy::kernel_bench::peers_version,
                               .name = "cuBLASLt",
                               .build = build.c_str(),
                               .prepare = prepare,
                               .run = run,
                               .release = release};
  return &calls;
}
