#include "deploy/machine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/buffer.h"

namespace troupe::deploy {

double measure_peak_flops(int threads, kernels::Device device) {
  using namespace kernels;
  using Clock = std::chrono::steady_clock;
  const int64_t n = device == Device::cuda ? 4096 : 384;
  ThreadPool pool(threads);
  Queue queue(pool, device);
  const Buffer a = allocate(device, DType::f32, {n, n}), b = allocate(device, DType::f32, {n, n});
  const Buffer c = allocate(device, DType::f32, {n, n});
  for (const Buffer& factor : {a, b}) zero_now(factor);
  double best = 0;
  for (int round = 0; round < 12; ++round) {
    const auto begin = Clock::now();
    gemm(queue, {.a = a, .b = b, .transpose_a = false, .transpose_b = true, .c = c,
                 .add_to_c = false});
    queue.wait();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / seconds);
  }
  return best;
}

int64_t memory_bytes() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

}  // namespace troupe::deploy
