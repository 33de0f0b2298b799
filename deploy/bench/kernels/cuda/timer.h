#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "deploy/bench/kernels/cuda/device_array.h"
#include "kernels/queue.h"

namespace troupe::deploy::kernel_bench {

/// Enqueues one call of what is measured. It allocates nothing but what it also did the first time.
using Call = std::function<void(kernels::Queue& queue)>;

/// A call of a launcher f(stream).
template <class F>
Call on_stream(F f) {
  return [f = std::move(f)](kernels::Queue& queue) {
    queue.launch([f](const kernels::GpuLane& lane) { f(lane.stream); });
  };
}

/// Times calls in turns: one of each a round, each behind a flush of L2, on a queue of the arithmetic sm_90a. A round
/// is launched when all of it is enqueued, and a flush takes longer than the host needs to launch what is behind it:
/// so the GPU waits for nobody between the two marks of a call.
class Timer {
 public:
  explicit Timer(int rounds);

  /// Median microseconds of each call. Three rounds before are not counted. Throws what a call throws.
  std::vector<double> medians(const std::vector<Call>& calls);

 private:
  /// Of one call of a round.
  struct Marks {
    Marks();
    ~Marks();
    Marks(const Marks&) = delete;
    Marks& operator=(const Marks&) = delete;
    cudaEvent_t begin = nullptr, end = nullptr;
  };
  void enqueue_round(const std::vector<Call>& calls);

  const int rounds_;
  const DeviceArray<uint8_t> flushed_;
  const DeviceArray<uint32_t> scratch_;
  std::deque<Marks> marks_;
  kernels::ThreadPool pool_;
  kernels::Queue queue_;  // the last: it ends first
};

/// Bytes a second, read and written, of a copy of 1 GiB.
double measure_copy_rate(Timer& timer);

}  // namespace troupe::deploy::kernel_bench
