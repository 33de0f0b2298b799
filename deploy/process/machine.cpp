#include "deploy/process/machine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/layers/linear.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/quantize.h"
#include "kernels/random.h"

namespace troupe::deploy {

namespace {

using namespace kernels;

/// Numbers in [-1, 1): how fast tensor cores multiply depends on what they multiply.
Buffer random_bf16(Device device, int64_t n) {
  const Buffer host = allocate(DType::bf16, {n, n});
  for (int64_t i = 0; i < n * n; ++i) {
    const auto at = static_cast<uint64_t>(i);
    const auto number = static_cast<float>(random_below({1, Purpose::test, 0, at}, 1 << 16));
    values<uint16_t>(host.view)[i] = f32_to_bf16(number * 0x1p-15f - 1.0f);
  }
  const Buffer out = allocate(device, DType::bf16, {n, n});
  copy_now(host, out);
  return out;
}

Buffer zeros(Device device, int64_t n) {
  const Buffer out = allocate(device, DType::f32, {n, n});
  zero_now(out);
  return out;
}

}  // namespace

double measure_peak_flops(int threads, Device device, Arithmetic arithmetic) {
  using Clock = std::chrono::steady_clock;
  const bool is_bf16 = arithmetic == Arithmetic::sm_90a;
  const int64_t n = device == Device::cuda ? 4096 : 384;
  ThreadPool pool(threads);
  Queue queue(pool, device, arithmetic);
  const Buffer a = is_bf16 ? random_bf16(device, n) : zeros(device, n);
  const Buffer b = is_bf16 ? a : zeros(device, n);
  const Buffer c = allocate(device, is_bf16 ? DType::bf16 : DType::f32, {n, n});
  double best = 0;
  for (int round = 0; round < 12; ++round) {
    const auto begin = Clock::now();
    if (is_bf16) {
      linear_forward(queue, {.precision = Precision::bf16, .scales = Scales::any, .x = a,
                             .weight = b, .y = c});
    } else {
      gemm(queue, {.a = a, .b = b, .transpose_a = false, .transpose_b = true, .c = c,
                   .add_to_c = false});
    }
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
