// The shapes that are measured, by family. A case is made when its turn comes: its calls own what they read and write.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "deploy/bench/kernels/cuda/timer.h"
#include "deploy/bench/kernels/peer_library.h"

namespace troupe::deploy::kernel_bench {

struct Case {
  std::string shape;
  double flop, bytes;  ///< as in Row
  Call ours;
  std::string peer = {};
  Call peers_call = {};               ///< empty: there is none
  std::function<void()> check = {};   ///< throws std::runtime_error if the two have different results
};

/// A shape of a family; `peers` may be null.
struct CaseOf {
  std::string family;
  std::function<Case(const PeerLibrary* peers)> make;
};

void add_dense_cases(std::vector<CaseOf>& cases);
void add_grouped_cases(std::vector<CaseOf>& cases);
void add_attention_cases(std::vector<CaseOf>& cases);
void add_quantise_cases(std::vector<CaseOf>& cases);
void add_operator_cases(std::vector<CaseOf>& cases);

/// The largest products of the table, which give the GEMM rates.
Case largest_bf16_product(const PeerLibrary* peers);
Case largest_fp8_product(const PeerLibrary* peers);

/// "4096 x 2112 x 7168".
inline std::string by(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

/// Of sizes, as a number to multiply: their product.
inline double product(std::initializer_list<int64_t> sizes) {
  double product = 1;
  for (const int64_t size : sizes) product *= static_cast<double>(size);
  return product;
}

}  // namespace troupe::deploy::kernel_bench
