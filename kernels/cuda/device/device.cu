#include "kernels/cuda/device/device.h"

#include <cuda_runtime.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "kernels/cuda/device/gpu_claim.h"
#include "kernels/cuda/device/launch.cuh"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {
namespace {

constexpr int wanted_major = 9, wanted_minor = 0;  // what sm_90a code runs on

std::atomic<bool> opened{false};
std::atomic<int> chosen{-1};  // the GPU of this process

/// GPUs that sm_90a code runs on, by number.
std::vector<int> usable_gpus(int count) {
  std::vector<int> usable;
  for (int gpu = 0; gpu < count; ++gpu) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, gpu);
    if (major == wanted_major && minor == wanted_minor) usable.push_back(gpu);
  }
  return usable;
}

/// By its UUID, which every process of the machine sees alike.
std::string name_of(int gpu) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, gpu), "properties of the GPU");
  std::string name;
  for (const char byte : properties.uuid.bytes) {
    constexpr char digits[] = "0123456789abcdef";
    name += {digits[static_cast<uint8_t>(byte) >> 4], digits[byte & 15]};
  }
  return name;
}

int choose_gpu() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "GPUs");
  const std::vector<int> usable = usable_gpus(count);
  std::vector<std::string> names;
  for (const int gpu : usable) names.push_back(name_of(gpu));
  return usable[claim_gpu(names)];
}

/// By FaultName: what the number is, as the CPU's error has it.
const char* name_of(FaultName name) {
  static constexpr const char* names[] = {"",
                                          "embed id",
                                          "embed_backward_weights id",
                                          "cross_entropy target",
                                          "cross_entropy_backward target",
                                          "gather_rows index",
                                          "combine_rows source",
                                          "combine_rows row",
                                          "combine_rows group",
                                          "rope position",
                                          "route_tokens_backward expert id",
                                          "balance_loss expert id",
                                          "count_experts expert id",
                                          "sort_rows expert id"};
  return names[static_cast<size_t>(name)];
}

/// Errors behind which every call of the process fails.
bool ends_context(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorContained:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // of what can be forgotten: a failed launch, a full memory
  throw DeviceError(std::string(what) + ": " + cudaGetErrorString(status), ends_context(status));
}

std::string why_no_gpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    return std::string("the driver says: ") + cudaGetErrorString(status);
  }
  if (count == 0) return "the driver sees no GPU";
  if (!usable_gpus(count).empty()) return "";
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  return "the GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
         ", wanted 9.0";
}

std::string describe_gpu() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, std::max(0, chosen.load())), "properties of the GPU");
  const int64_t tenths = static_cast<int64_t>(properties.totalGlobalMem * 10 >> 30);
  return std::string(properties.name) + ", " + std::to_string(properties.multiProcessorCount) +
         " multiprocessors, " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) +
         " GiB";
}

bool is_open() { return opened.load(std::memory_order_acquire); }

void open() {
  static std::mutex mutex;
  if (!is_open()) {
    std::lock_guard lock(mutex);
    if (!is_open()) {
      const std::string reason = why_no_gpu();
      if (!reason.empty()) throw KernelError("no GPU to compute on: " + reason);
      chosen = choose_gpu();
      opened.store(true, std::memory_order_release);
    }
  }
  use_gpu();
}

namespace {

/// As use_gpu(), also where nothing may be thrown.
cudaError_t try_to_use_gpu() {
  thread_local bool uses = false;
  if (uses || !is_open()) return cudaSuccess;
  const cudaError_t status = cudaSetDevice(chosen);
  uses = status == cudaSuccess;
  return status;
}

}  // namespace

void use_gpu() { check(try_to_use_gpu(), "the GPU"); }

void* allocate_device(size_t bytes) {
  use_gpu();
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "memory of the GPU");
  return memory;
}

void free_device(void* memory) {
  try_to_use_gpu();
  cudaFree(memory);
}

void* allocate_pinned(size_t bytes) {
  use_gpu();
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "pinned memory");
  return memory;
}

void free_pinned(void* memory) {
  try_to_use_gpu();
  cudaFreeHost(memory);
}

void copy_bytes(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  use_gpu();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cudaStreamPerThread), "a copy");
  check(cudaStreamSynchronize(cudaStreamPerThread), "a copy");
}

void zero_bytes(void* to, size_t bytes) {
  if (bytes == 0) return;
  use_gpu();
  check(cudaMemsetAsync(to, 0, bytes, cudaStreamPerThread), "zeros");
  check(cudaStreamSynchronize(cudaStreamPerThread), "zeros");
}

Stream::Stream() {
  open();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
  check(cudaEventCreateWithFlags(&mark_, cudaEventDisableTiming), "an event");
  fault_ = static_cast<Fault*>(allocate_pinned(sizeof(Fault)));
  if (fault_ == nullptr) throw DeviceError("a stream: no pinned memory", false);
  *fault_ = {};
}

Stream::~Stream() {
  try_to_use_gpu();
  cudaStreamDestroy(stream_);
  cudaEventDestroy(mark_);
  if (begin_ != nullptr) cudaEventDestroy(begin_);
  if (end_ != nullptr) cudaEventDestroy(end_);
  free_pinned(fault_);
}

void Stream::mark() {
  use_gpu();
  check(cudaEventRecord(mark_, stream_), "work of the GPU");
}

Mark::Mark(CUstream_st* stream) {
  use_gpu();
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event");
  const cudaError_t status = cudaEventRecord(event_, stream);
  if (status != cudaSuccess) cudaEventDestroy(event_);
  check(status, "a mark for other streams");
}

Mark::~Mark() {
  try_to_use_gpu();
  cudaEventDestroy(event_);
}

std::shared_ptr<const Mark> Stream::place_mark() { return std::make_shared<const Mark>(stream_); }

void Stream::wait_for(const Mark& mark) {
  use_gpu();
  check(cudaStreamWaitEvent(stream_, mark.event()), "a mark of another stream");
}

double Stream::time(const std::function<void()>& launch) {
  use_gpu();
  if (end_ == nullptr) {
    check(cudaEventCreate(&begin_), "an event");
    check(cudaEventCreate(&end_), "an event");
  }
  check(cudaEventRecord(begin_, stream_), "time of the GPU");
  launch();
  check(cudaEventRecord(end_, stream_), "time of the GPU");
  check(cudaEventSynchronize(end_), "time of the GPU");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin_, end_), "time of the GPU");
  return 1e-3 * static_cast<double>(milliseconds);
}

bool Stream::has_passed_mark() {
  use_gpu();
  const cudaError_t status = cudaEventQuery(mark_);
  if (status == cudaErrorNotReady) return false;
  check(status, "work of the GPU");
  if (fault_->name == FaultName::none) return true;
  const Fault found = *fault_;
  *fault_ = {};
  throw KernelError(std::string(name_of(found.name)) + " " + std::to_string(found.value) +
                    " at row " + std::to_string(found.row) + ", wanted " +
                    std::to_string(found.least) + " to " + std::to_string(found.most));
}

}  // namespace troupe::kernels::cuda
