#include "deploy/bench/kernels/gpu_meter.h"

#include <dlfcn.h>

namespace troupe::deploy::kernel_bench {
namespace {

// Of nvml.h, which only a toolkit has: 0 is success, the rest are codes.
constexpr int success = 0;
constexpr int clock_of_multiprocessors = 1;

/// Calls the function of that name; false if it is not there or fails.
template <class... Args>
bool call(void* library, const char* name, Args... args) {
  if (library == nullptr) return false;
  const auto function = reinterpret_cast<int (*)(Args...)>(::dlsym(library, name));
  return function != nullptr && function(args...) == success;
}

}  // namespace

GpuMeter::GpuMeter(const std::string& pci) : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
  if (!call(library_, "nvmlInit_v2")) return;
  if (!call(library_, "nvmlDeviceGetHandleByPciBusId_v2", pci.c_str(), &device_)) device_ = nullptr;
}

GpuMeter::~GpuMeter() {
  call(library_, "nvmlShutdown");
  if (library_ != nullptr) ::dlclose(library_);
}

std::string GpuMeter::driver() const {
  char version[96] = "";
  return call(library_, "nvmlSystemGetDriverVersion", &version[0], unsigned{sizeof(version)}) ? version : "";
}

GpuReading GpuMeter::read() const {
  GpuReading reading;
  if (device_ == nullptr) return reading;
  unsigned value = 0;
  if (call(library_, "nvmlDeviceGetClockInfo", device_, clock_of_multiprocessors, &value)) reading.sm_mhz = value;
  if (call(library_, "nvmlDeviceGetPowerUsage", device_, &value)) reading.watts = 1e-3 * value;
  return reading;
}

}  // namespace troupe::deploy::kernel_bench
