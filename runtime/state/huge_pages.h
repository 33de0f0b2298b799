// Memory in huge pages where all of one is going to be written. The products of a step read every weight, AdamW
// everything: in pages of 4 KiB misses of the TLB cost 2 to 4 % of a step of 12 M parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "kernels/tensor.h"

namespace troupe::runtime {

class HugePages {
 public:
  static constexpr size_t page = 2 << 20;
  /// A page is asked for where as much of it is going to be written: what is left over is memory that nobody
  /// planned.
  static constexpr size_t least = page / 32 * 31;

  /// This part of the host's memory, which no other part overlaps, is going to be written.
  void add(const kernels::Tensor& part);
  /// Asks the system for them, before anything is written there: what has small pages keeps them. A system
  /// that has none gives small ones. Returns the pages asked for.
  int64_t request() const;

 private:
  std::map<uintptr_t, size_t> written_;  // bytes, by the number of the page
};

}  // namespace troupe::runtime
