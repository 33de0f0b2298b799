// What the launchers of attention on Hopper share.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention/attention_items.cuh"
#include "kernels/cuda/sm90/launch_sm90.h"
#include "kernels/cuda/sm90/tensor_map.h"

namespace troupe::kernels::cuda {

constexpr float log2_e = 1.44269504f;

/// Boxes of 64 columns and `box_rows` rows of heads of `width` columns.
inline CUtensorMap head_map(const char* name, const HeadRows& x, int64_t rows, int64_t heads,
                            int64_t width, int box_rows) {
  return tensor_map(name, {.data = x.data,
                           .type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .element_bytes = 2,
                           .rows = rows,
                           .cols = (heads - 1) * x.head_stride + width,
                           .row_stride = x.row_stride,
                           .box_rows = box_rows,
                           .box_cols = 64,
                           .swizzled = true});
}

/// Items of `tile` rows of `heads` heads from `first_head` on. `read_rows`: the most that one
/// head's items read again and again; as many heads go together as leave that in L2.
inline AttentionItems attention_items(int tile, const PackedRows& rows, int64_t sequences,
                                      int64_t first_head, int64_t heads, int64_t read_rows) {
  constexpr int64_t kept_bytes = 24 << 20, row_bytes = (192 + 128) * 2;
  return {.tile = tile,
          .offsets = rows.offsets,
          .longest = static_cast<int>(rows.longest),
          .sequences = static_cast<int>(sequences),
          .first_head = static_cast<int>(first_head),
          .heads = static_cast<int>(heads),
          .heads_together = static_cast<int>(
              std::clamp<int64_t>(kept_bytes / (read_rows * row_bytes), 1, heads))};
}

}  // namespace troupe::kernels::cuda
