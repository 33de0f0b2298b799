// A build without CUDA: there is nothing to measure on.
#include "deploy/bench/kernels/measure.h"
#include "kernels/cuda/device/device.h"

namespace troupe::deploy::kernel_bench {

Table measure(const MeasureArgs& args) {
  kernels::cuda::open();  // throws
  return {{}, args.families};
}

}  // namespace troupe::deploy::kernel_bench
