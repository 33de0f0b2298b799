// A build without CUDA: there is no GPU, and everything says so.
#include "kernels/cuda/device/device.h"
#include "kernels/tensor.h"

namespace troupe::kernels::cuda {

std::string why_no_gpu() { return "this build has no CUDA"; }

std::string describe_gpu() { throw KernelError("no GPU to describe: " + why_no_gpu()); }

bool is_open() { return false; }

void open() { throw KernelError("no GPU to compute on: " + why_no_gpu()); }

void use_gpu() {}

// Nobody comes here: open() has thrown before.
void* allocate_device(size_t) { return nullptr; }
void free_device(void*) {}
void* allocate_pinned(size_t) { return nullptr; }
void free_pinned(void*) {}
void copy_bytes(void*, const void*, size_t) { open(); }
void zero_bytes(void*, size_t) { open(); }

Mark::Mark(CUstream_st*) { open(); }
Mark::~Mark() = default;
Stream::Stream() { open(); }
Stream::~Stream() = default;
void Stream::mark() { open(); }
std::shared_ptr<const Mark> Stream::place_mark() { return nullptr; }
void Stream::wait_for(const Mark&) { open(); }
double Stream::time(const std::function<void()>&) { return 0; }
bool Stream::has_passed_mark() {
  open();
  return false;
}

}  // namespace troupe::kernels::cuda
