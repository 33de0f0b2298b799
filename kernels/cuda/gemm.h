// The funnel of all products on the GPU: what cpu/gemm/gemm_plan.h is on the CPU.
#pragma once

#include <vector>

#include "kernels/cpu/gemm/gemm_block.h"
#include "kernels/queue.h"

namespace troupe::kernels::cuda {

/// c = a times b for each product, all of them in one launch.
void multiply(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products);
/// Of codes, with their scales: gemm_fp8.cu.
void multiply_codes(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products);

}  // namespace troupe::kernels::cuda
