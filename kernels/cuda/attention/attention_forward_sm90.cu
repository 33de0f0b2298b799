#include <algorithm>
#include <string>

#include "kernels/cuda/attention/attention_forward_tiles.cuh"
#include "kernels/cuda/attention/attention_launch.h"
#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/sm90/launch_sm90.h"

namespace troupe::kernels::cuda {

void attention_forward_sm90(const AttentionForwardSm90Args& args, cudaStream_t stream) {
  const char* name = "attention_forward_sm90";
  if (args.queries.total == 0 || args.sequences == 0 || args.queries.longest == 0) return;
  const int64_t H = args.heads;
  const CUtensorMap q =
      head_map("attention_forward_sm90 q", args.q, args.queries.total, H, 192, 128);
  const CUtensorMap k = head_map("attention_forward_sm90 k", args.k, args.keys.total, H, 128, 128);
  const CUtensorMap k_rope =
      head_map("attention_forward_sm90 k_rope", args.k_rope, args.keys.total, H, 64, 128);
  const CUtensorMap v = head_map("attention_forward_sm90 v", args.v, args.keys.total, H, 128, 128);
  const AttentionForwardTiles tiles{
      .items =
          attention_items(attention_tile, args.queries, args.sequences, 0, H, args.keys.longest),
      .key_offsets = args.keys.offsets,
      .longest_keys = static_cast<int>(args.keys.longest),
      .q_head_stride = static_cast<int>(args.q.head_stride),
      .k_head_stride = static_cast<int>(args.k.head_stride),
      .k_rope_head_stride = static_cast<int>(args.k_rope.head_stride),
      .v_head_stride = static_cast<int>(args.v.head_stride),
      .scale_log2 = args.scale * log2_e,
      .o = reinterpret_cast<__nv_bfloat16*>(args.o),
      .log_sums = args.log_sums,
      .total = args.queries.total,
      .counter = args.counter};
  expect_launched(name, cudaMemsetAsync(args.counter, 0, sizeof *args.counter, stream));
  launch(name, attention_forward_tiles, dim3(multiprocessors), 384, AttentionForwardMemory::bytes,
         0, stream, q, k, k_rope, v, tiles);
}

}  // namespace troupe::kernels::cuda
