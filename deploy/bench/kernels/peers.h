// The interface of a library of peers, which `troupe bench kernels --peers LIBRARY` loads: products of others, beside
// which ours are measured. None is built or linked by default; tests/bench/cublaslt_peers.cpp is one. Only plain data
// crosses.
#pragma once

#include <cstdint>

namespace troupe::deploy::kernel_bench {

/// Changes with anything below.
constexpr int32_t peers_version = 1;

enum class PeerType : int32_t { bf16, e4m3, f32 };

/// Row-major c [M, N] = op(a) [M, K] times op(b) [K, N]. Pointers are in the memory of the GPU.
struct PeerProduct {
  const void* a;  ///< [M, K], or [K, M] when transpose_a
  const void* b;  ///< [K, N], or [N, K] when transpose_b
  void* c;
  int64_t M, N, K;
  int32_t transpose_a, transpose_b;  ///< 0 or 1
  PeerType operands;                 ///< bf16 or e4m3
  PeerType result;                   ///< bf16 or f32
  const float* a_scales;             ///< e4m3: [K / 128, M], of tiles of 1 x 128; else null
  /// e4m3: of blocks of 128 x 128, [N / 128, K / 128 up to a multiple of 4]; with b_tiles of tiles as of a,
  /// [K / 128, N]; else null.
  const float* b_scales;
  int32_t b_tiles;
  void* workspace;
  int64_t workspace_bytes;
};

/// What the library can do. Calls return 0 if they succeeded; else `error` has what was wrong.
struct PeerCalls {
  int32_t version;    ///< peers_version
  const char* name;   ///< as it stands in the table: "cuBLASLt"
  const char* build;  ///< its version, as it says it
  /// Makes *product, which `release` frees; null where the library has no algorithm for it.
  int32_t (*prepare)(const PeerProduct* wanted, void** product, char* error, int64_t error_bytes);
  /// Launches it; `stream` is a CUstream_st*. The calling thread has the GPU's context.
  int32_t (*run)(const void* product, void* stream, char* error, int64_t error_bytes);
  void (*release)(void* product);
};

/// Exported, without C++ in its name, as `peers_entry`.
using PeersEntry = const PeerCalls* (*)();
constexpr const char* peers_entry = "troupe_kernel_peers";

}  // namespace troupe::deploy::kernel_bench
