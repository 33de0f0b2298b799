// What the benches of Hopper kernels share: random device data, interleaved timing with a flushed
// L2, and tables as text and JSON.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::tests {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

/// Device memory of a bench, freed at its end.
template <typename T>
class Device {
 public:
  explicit Device(int64_t count) : count_(count) {
    T* data = nullptr;
    check_cuda(
        cudaMalloc(reinterpret_cast<void**>(&data), static_cast<size_t>(count) * sizeof(T) + 256),
        "memory");
    data_.reset(data, [](T* p) { cudaFree(p); });
  }
  explicit Device(const std::vector<T>& values) : Device(static_cast<int64_t>(values.size())) {
    check_cuda(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
               "copy");
  }
  T* data() const { return data_.get(); }
  int64_t count() const { return count_; }

 private:
  int64_t count_;
  std::shared_ptr<T> data_;
};

/// About normal bfloat16 numbers: a sum of four uniform ones from a hash of (seed, index).
static __global__ void fill_normal(uint16_t* out, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t x = (static_cast<uint64_t>(seed) << 40) + static_cast<uint64_t>(i);
    float sum = 0;
    for (int j = 0; j < 2; ++j) {
      x += 0x9e3779b97f4a7c15u;
      uint64_t z = x;
      z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
      z = (z ^ z >> 27) * 0x94d049bb133111ebu;
      z ^= z >> 31;
      sum += static_cast<float>(static_cast<uint32_t>(z)) * 0x1p-32f +
             static_cast<float>(static_cast<uint32_t>(z >> 32)) * 0x1p-32f - 1.0f;
    }
    const __nv_bfloat16 value = __float2bfloat16(sum * 1.7320508f);
    out[i] = *reinterpret_cast<const uint16_t*>(&value);
  }
}

inline Device<uint16_t> normal_bf16(int64_t count, uint32_t seed) {
  Device<uint16_t> out(count);
  fill_normal<<<1024, 256>>>(out.data(), count, seed);
  check_cuda(cudaGetLastError(), "fill");
  return out;
}

static __global__ void read_all(const uint4* data, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint4 v = __ldg(data + i);
    sum += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678) *out = sum;
}

/// Fills L2 with clean lines of other data.
class Flush {
 public:
  Flush() : data_(256 << 20), out_(1) {
    check_cuda(cudaMemset(data_.data(), 1, static_cast<size_t>(data_.count())), "flush");
  }
  void run(cudaStream_t stream) const {
    read_all<<<1056, 512, 0, stream>>>(reinterpret_cast<const uint4*>(data_.data()),
                                       data_.count() / 16, out_.data());
  }

 private:
  Device<uint8_t> data_;
  Device<uint32_t> out_;
};

struct Contestant {
  std::string name;
  std::function<void(cudaStream_t)> run;
};

/// Median microseconds of each contestant: one of each a round, each after a flush.
inline std::vector<double> measure(const std::vector<Contestant>& contestants, int rounds) {
  static const Flush flush;
  static cudaStream_t stream = [] {
    cudaStream_t s;
    check_cuda(cudaStreamCreate(&s), "stream");
    return s;
  }();
  std::vector<std::vector<float>> times(contestants.size());
  std::vector<std::pair<cudaEvent_t, cudaEvent_t>> events(contestants.size());
  for (auto& [begin, end] : events) {
    check_cuda(cudaEventCreate(&begin), "event");
    check_cuda(cudaEventCreate(&end), "event");
  }
  constexpr int warm_up = 3;
  for (int round = 0; round < rounds + warm_up; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      flush.run(stream);
      check_cuda(cudaEventRecord(events[i].first, stream), "event");
      contestants[i].run(stream);
      check_cuda(cudaEventRecord(events[i].second, stream), "event");
    }
    check_cuda(cudaStreamSynchronize(stream), "round");
    for (size_t i = 0; i < contestants.size() && round >= warm_up; ++i) {
      float milliseconds = 0;
      check_cuda(cudaEventElapsedTime(&milliseconds, events[i].first, events[i].second), "time");
      times[i].push_back(milliseconds * 1e3f);
    }
  }
  std::vector<double> out;
  for (size_t i = 0; i < contestants.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    out.push_back(times[i][times[i].size() / 2]);
    cudaEventDestroy(events[i].first);
    cudaEventDestroy(events[i].second);
  }
  return out;
}

/// Bytes a second, read and written, of a large copy on the device.
inline double copy_rate() {
  const Device<uint8_t> from(int64_t{1} << 30), to(int64_t{1} << 30);
  const auto copy = [&](cudaStream_t stream) {
    check_cuda(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(from.count()),
                               cudaMemcpyDeviceToDevice, stream),
               "copy");
  };
  return 2.0 * static_cast<double>(from.count()) / (measure({{"copy", copy}}, 20)[0] * 1e-6);
}

}  // namespace troupe::tests
