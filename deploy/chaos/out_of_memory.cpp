#include "deploy/chaos/out_of_memory.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/memory_group.h"

namespace troupe::deploy {
namespace {

constexpr int64_t limit_bytes = 32 << 20;
constexpr int64_t piece_bytes = 1 << 20;

}  // namespace

void run_out_of_memory() {
  runtime::enter_memory_group(limit_bytes);
  std::vector<std::unique_ptr<char[]>> taken;
  for (int64_t bytes = 0; bytes < 8 * limit_bytes; bytes += piece_bytes) {
    taken.push_back(std::make_unique<char[]>(piece_bytes));  // zeroed, so its pages are there
  }
  throw runtime::ClusterError("found " + std::to_string(8 * limit_bytes) +
                              " bytes in a memory group with a limit of " + std::to_string(limit_bytes) +
                              ", wanted the kernel to end the process");
}

}  // namespace troupe::deploy
