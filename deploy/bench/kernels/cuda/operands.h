// Random operands of products in device memory, the peer's call of one, and how far two results are apart.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "deploy/bench/kernels/cuda/cases.h"
#include "deploy/bench/kernels/cuda/device_array.h"
#include "deploy/bench/kernels/cuda/fill.h"

namespace troupe::deploy::kernel_bench {

inline int64_t up_to(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

template <class T>
DeviceArray<T> random_array(int64_t count, uint32_t seed) {
  DeviceArray<T> array(count);
  fill_random(array.data(), count, seed);
  return array;
}

constexpr float least_amax = 1e-4f;  ///< of a tile: an ordinary one

/// Random rows as E4M3 codes of tiles of 1 x 128.
struct RowOperand {
  RowOperand(int64_t rows, int64_t cols, uint32_t seed);
  DeviceArray<uint8_t> codes;  ///< [rows, cols]
  int64_t stride;              ///< rows up to a multiple of 4
  DeviceArray<float> scales;   ///< [tiles of cols, stride]
};

/// `groups` random matrices as E4M3 codes of blocks of 128 x 128, one behind the other.
struct BlockOperand {
  BlockOperand(int64_t groups, int64_t N, int64_t K, uint32_t seed);
  DeviceArray<uint8_t> codes;  ///< [groups, N, K]
  int64_t stride;              ///< blocks of K up to a multiple of 4
  DeviceArray<float> scales;   ///< [groups * blocks of N, stride]
};

/// The peer's call of products one behind the other, and their workspace. Empty if there is no library, or if it has
/// no algorithm for one of them. Workspaces of the products are set here; `kept` lives as long as the call.
Call peer_call(const PeerLibrary* peers, std::vector<PeerProduct> products, std::shared_ptr<const void> kept);

/// Throws std::runtime_error if two results, at places all over them, are not the same matrix but for roundings. T:
/// uint16_t (bfloat16) or float.
template <class T>
void expect_same(const DeviceArray<T>& ours, const DeviceArray<T>& peers, const std::string& peer);

}  // namespace troupe::deploy::kernel_bench
