#include "deploy/process/memory_use.h"

#include <malloc.h>

#include <fstream>
#include <string>

#include "kernels/buffer.h"

namespace troupe::deploy {
namespace {

/// A line of /proc/self/status, "VmHWM:    1234 kB", in bytes.
int64_t status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return 1024 * std::atoll(line.c_str() + name.size() + 1);
  }
  return 0;
}

}  // namespace

int64_t resident_bytes() { return status("VmRSS"); }

int64_t resident_peak_bytes() { return status("VmHWM"); }

void give_back_freed_memory() { malloc_trim(0); }

void forget_resident_peak() {
  kernels::release_kept_buffers();
  give_back_freed_memory();
  std::ofstream("/proc/self/clear_refs") << "5";  // proc(5): resets VmHWM
}

}  // namespace troupe::deploy
