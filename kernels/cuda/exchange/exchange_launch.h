#pragma once

#include "kernels/cuda/exchange/exchange.h"
#include "kernels/cuda/sm90/launch_sm90.h"

namespace troupe::kernels::cuda {

/// Few tokens are told of soon, of many there are not many words.
__host__ __device__ inline int64_t chunk_of(const ExchangeShape& x) { return x.tokens <= 1024 ? 2 : 8; }
__host__ __device__ inline int64_t chunks_of(const ExchangeShape& x) {
  return (x.tokens + chunk_of(x) - 1) / chunk_of(x);
}

/// Throws KernelError.
void expect_sound(const ExchangeCall& call);

}  // namespace troupe::kernels::cuda
