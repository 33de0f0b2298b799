// How a call of attention is cut into blocks that are computed one by one. Nothing of it shows in
// the result.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops/attention.h"

namespace troupe::kernels::cpu {

/// Neighbouring rows of one sequence that are computed together. A row is a query of one head: the
/// rows of a block are the heads that share a key head, of one query, then of the next one.
struct AttentionBlock {
  const AttentionSequence* sequence;
  int64_t key_head;
  int64_t first_row;
  int64_t rows;
};

struct AttentionPlan {
  AttentionArgs args;
  int64_t query_width;     // dqk
  int64_t value_width;     // dv
  int64_t heads_together;  // heads that share a key head
  int64_t most_rows = 0;   // in a block
  int64_t most_keys = 0;   // of a block
  std::vector<AttentionBlock> blocks;

  int64_t query_of(const AttentionBlock& block, int64_t row) const {
    return (block.first_row + row) / heads_together;
  }
  int64_t head_of(const AttentionBlock& block, int64_t row) const {
    return block.key_head * heads_together + (block.first_row + row) % heads_together;
  }
  /// How many keys the row attends to.
  int64_t keys_of(const AttentionBlock& block, int64_t row) const {
    return block.sequence->first_position + query_of(block, row) + 1;
  }
};

/// For a queue on that device. Throws KernelError if something does not fit. `blocks` point into the plan's own args.
std::shared_ptr<const AttentionPlan> plan_attention(const AttentionArgs& args, Device queue);

}  // namespace troupe::kernels::cpu
