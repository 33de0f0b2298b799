#include "runtime/state/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>

namespace troupe::runtime {

void HugePages::add(const kernels::Tensor& part) {
  auto at = reinterpret_cast<uintptr_t>(part.data);
  const uintptr_t end = at + static_cast<uintptr_t>(part.count() * kernels::size_of(part.dtype));
  while (at < end) {
    const uintptr_t number = at / page;
    const uintptr_t next = std::min(end, (number + 1) * page);
    written_[number] += next - at;
    at = next;
  }
}

/// Neighbours in one call: a call takes the process's lock on its memory.
int64_t HugePages::request() const {
  int64_t requested = 0;
  for (auto at = written_.begin(); at != written_.end();) {
    const uintptr_t first = at->first;
    uintptr_t end = first;
    while (at != written_.end() && at->first == end && at->second >= least) {
      ++end;
      ++at;
    }
    if (end == first) {
      ++at;
      continue;
    }
    ::madvise(reinterpret_cast<void*>(first * page), (end - first) * page, MADV_HUGEPAGE);
    requested += static_cast<int64_t>(end - first);
  }
  return requested;
}

}  // namespace troupe::runtime
