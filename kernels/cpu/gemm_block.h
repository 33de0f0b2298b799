// What the public products and their blocks per instruction set share.
#pragma once

#include <cstdint>

namespace troupe::kernels::cpu {

/// A product of one part: c [rows, cols] = a [rows, depth] times b [depth, cols].
struct GemmBlock {
  const float* a;
  int64_t a_row;  ///< elements from row to row of a; 1 when a is stored transposed
  int64_t a_k;    ///< elements from k to k + 1; 1 unless a is stored transposed
  const float* b;
  int64_t b_stride;  ///< elements from k to k + 1, or from column to column when b_transposed
  bool b_transposed;
  float* c;
  int64_t c_row;
  int64_t rows, cols, depth;
  bool add;  ///< c + product, else the product
};

}  // namespace troupe::kernels::cpu
