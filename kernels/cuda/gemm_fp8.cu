#include "kernels/cuda/gemm/gemm_block.cuh"

namespace troupe::kernels::cuda {

void multiply_codes(Queue& queue, const char* what, const std::vector<cpu::GemmBlock>& products) {
  launch_products<true>(queue, what, products);
}

}  // namespace troupe::kernels::cuda
