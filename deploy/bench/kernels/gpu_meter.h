#pragma once

#include <optional>
#include <string>

namespace troupe::deploy::kernel_bench {

/// What a GPU says of itself at a moment; nothing where it does not.
struct GpuReading {
  std::optional<unsigned> sm_mhz;
  std::optional<double> watts;  ///< of the last second or so
};

/// Clock and power of a GPU by the driver's NVML, which is loaded where there is one.
class GpuMeter {
 public:
  /// `pci`: "0000:19:00.0". Where NVML is not there, or does not know the GPU, nothing can be read.
  explicit GpuMeter(const std::string& pci);
  ~GpuMeter();
  GpuMeter(const GpuMeter&) = delete;
  GpuMeter& operator=(const GpuMeter&) = delete;

  std::string driver() const;  ///< "580.159.04"; empty if that is not known
  GpuReading read() const;

 private:
  void* library_ = nullptr;
  void* device_ = nullptr;  // an nvmlDevice_t
};

}  // namespace troupe::deploy::kernel_bench
