#pragma once

#include <cstdint>
#include <vector>

#include "kernels/queue.h"
#include "kernels/tensor.h"

namespace troupe::kernels {

/// The rows that tokens have at the sources that hold their experts: a row for each choice. Those of a source are
/// sorted by expert, those of an expert by token.
struct SortRowsArgs {
  ConstTensor expert_ids;      ///< [T, K] i32; a token's differ, as route_tokens gives them
  std::vector<int32_t> owner;  ///< [E]: the source that has the expert
  int64_t groups;              ///< of E / groups experts each
  Tensor source, row, group;   ///< out: [T, K] i32: the source of the choice, its row there, the expert's group
  Tensor index, slot;          ///< out: [T * K] i32: token and t * K + k of each row, source behind source
  Tensor counts;               ///< out: [E] i32: rows of each expert; shared, for the host to read
};

constexpr int64_t most_sorted_experts = 4096;

/// Throws KernelError of more experts than those.
void sort_rows(Queue& queue, const SortRowsArgs& args);

/// On the GPU, with arguments that have been checked.
namespace cuda {
void sort_rows(Queue& queue, const SortRowsArgs& args);
}

}  // namespace troupe::kernels
