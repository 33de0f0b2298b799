// What a holder of experts sends back of the rows that it got: for each token and routing group whose
// experts it has, one sum (law 2) instead of a row an expert. Both ends make the same table of it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/buffer.h"

namespace troupe::kernels {

/// Rows of one holder's experts, as dispatched.
struct HolderRows {
  int64_t first_expert;
  std::vector<int64_t> offsets;  ///< rows of each of its experts, in id order: one more than experts
  ConstTensor token;             ///< [R] i32, ascending within an expert; on the host
  int64_t group_experts;         ///< experts of a routing group
};

struct GroupSums {
  /// Slots for combine_rows, on the host: -1 in `source` where a sum has fewer rows than W.
  Buffer source, row, group;  // [S, W] i32; of sums by (group, token)
  Buffer flat_row;            // [S * W] i32: as `row`, to gather weights by
  Buffer lone;                // [X] i32: rows of groups that others have experts of, as they came
  int64_t sums() const { return source.view.rows(); }
};

/// Throws KernelError if a row has no token of 0 to 2^28.
GroupSums plan_group_sums(const HolderRows& rows);

}  // namespace troupe::kernels
