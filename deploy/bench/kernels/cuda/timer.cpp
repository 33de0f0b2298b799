#include "deploy/bench/kernels/cuda/timer.h"

#include <future>

#include "deploy/bench/kernels/cuda/fill.h"
#include "deploy/bench/median.h"

namespace troupe::deploy::kernel_bench {
namespace {

constexpr int warm_up = 3;
constexpr int64_t flush_bytes = 256 << 20;  // five times L2

}  // namespace

Timer::Timer(int rounds)
    : rounds_(rounds),
      flushed_(DeviceArray<uint8_t>::zeros(flush_bytes)),
      scratch_(1),
      pool_(1),
      queue_(pool_, kernels::Device::cuda, kernels::Arithmetic::sm_90a) {}

Timer::Marks::Marks() {
  expect_cuda(cudaEventCreate(&begin), "an event");
  expect_cuda(cudaEventCreate(&end), "an event");
}

Timer::Marks::~Marks() {
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

void Timer::enqueue_round(const std::vector<Call>& calls) {
  std::promise<void> all_there;  // one that is broken lets go too
  queue_.launch([until = all_there.get_future().share()](const kernels::GpuLane&) { until.wait(); });
  for (size_t i = 0; i < calls.size(); ++i) {
    queue_.launch([this, i](const kernels::GpuLane& lane) {
      launch_flush(flushed_.data(), flushed_.count(), scratch_.data(), lane.stream);
      expect_cuda(cudaEventRecord(marks_[i].begin, lane.stream), "time of the GPU");
    });
    calls[i](queue_);
    queue_.launch([this, i](const kernels::GpuLane& lane) {
      expect_cuda(cudaEventRecord(marks_[i].end, lane.stream), "time of the GPU");
    });
  }
  all_there.set_value();
}

std::vector<double> Timer::medians(const std::vector<Call>& calls) {
  queue_.wait();
  while (marks_.size() < calls.size()) marks_.emplace_back();
  std::vector<std::vector<double>> times(calls.size());
  for (int round = -warm_up; round < rounds_; ++round) {
    enqueue_round(calls);
    queue_.wait();
    for (size_t i = 0; i < calls.size() && round >= 0; ++i) {
      float milliseconds = 0;
      expect_cuda(cudaEventElapsedTime(&milliseconds, marks_[i].begin, marks_[i].end), "time of the GPU");
      times[i].push_back(1e3 * static_cast<double>(milliseconds));
    }
  }
  std::vector<double> medians;
  for (const auto& each : times) medians.push_back(median(each));
  return medians;
}

double measure_copy_rate(Timer& timer) {
  const DeviceArray<uint8_t> from = DeviceArray<uint8_t>::zeros(int64_t{1} << 30), to(from.count());
  const double us = timer.medians({on_stream([&](cudaStream_t stream) {
    expect_cuda(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(from.count()), cudaMemcpyDeviceToDevice,
                                stream),
                "a copy");
  })})[0];
  return 2e6 * static_cast<double>(from.count()) / us;
}

}  // namespace troupe::deploy::kernel_bench
