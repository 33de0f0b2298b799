// How a product is cut into parts for the threads. Nothing of it shows in the result.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "kernels/cpu/gemm/gemm_block.h"
#include "kernels/queue.h"

namespace troupe::kernels::cpu {

/// Computes a part. Its columns begin at a multiple of 32.
using MultiplyBlock = void (*)(const GemmBlock& part);

/// c [M, N] = a [M, K] times b [K, N], or [N, K] when transpose_b.
GemmBlock row_product(const ConstTensor& a, const ConstTensor& b, bool transpose_b, const Tensor& c);
/// c [M, N] = transpose(a [K, M]) times b [K, N].
GemmBlock column_product(const ConstTensor& a, const ConstTensor& b, const Tensor& c);

/// Throws KernelError unless there are groups + 1 ascending row numbers from 0 to `rows`.
void expect_offsets(const char* what, const std::vector<int64_t>& offsets, size_t groups,
                    int64_t rows);

/// Throws KernelError if a queue on `queue` does not reach one of them.
void expect_operands(const char* what, std::initializer_list<ConstTensor> operands, Device queue);

/// Enqueues one product.
void run_product(Queue& queue, const GemmBlock& whole, MultiplyBlock multiply);

/// Enqueues products of one shape of columns that stand one behind the other: a part takes panels
/// from several of them, about as much work as any other part.
void run_groups(Queue& queue, std::vector<GemmBlock> groups, MultiplyBlock multiply);

}  // namespace troupe::kernels::cpu
