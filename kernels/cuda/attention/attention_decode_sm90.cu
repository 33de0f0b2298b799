#include "kernels/cuda/attention/attention_decode_sm90.h"
#include "kernels/cuda/attention/attention_decode_tiles.cuh"
#include "kernels/cuda/attention/attention_launch.h"

namespace troupe::kernels::cuda {

namespace {

int64_t most_splits(int64_t longest) {
  constexpr int64_t split_keys = decode_split_tiles * decode_keys;
  return (longest + split_keys - 1) / split_keys;
}

CUtensorMap rows_of_576(const char* name, const uint16_t* data, int64_t rows) {
  return tensor_map(name, {.data = data,
                           .type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           .element_bytes = 2,
                           .rows = rows,
                           .cols = 576,
                           .row_stride = 576,
                           .box_rows = 64,
                           .box_cols = 64,
                           .swizzled = true});
}

}  // namespace

int64_t attention_decode_sm90_workspace_bytes(int64_t heads, int64_t sequences, int64_t tokens,
                                              int64_t longest) {
  const int64_t splits = most_splits(longest);
  return splits < 2 ? 0 : sequences * splits * tokens * heads * (512 + 1) * 4;
}

void attention_decode_sm90(const AttentionDecodeSm90Args& args, cudaStream_t stream) {
  const char* name = "attention_decode_sm90";
  const int64_t B = args.sequences, rows = args.tokens * args.heads;
  if (B == 0 || rows == 0) return;
  const CUtensorMap q = rows_of_576("attention_decode_sm90 q", args.q, B * rows);
  const CUtensorMap cache =
      rows_of_576("attention_decode_sm90 cache", args.cache, args.pages * attention_decode_page);
  const int64_t splits = most_splits(args.longest);
  const AttentionDecodeTiles tiles{
      .heads = static_cast<int>(args.heads),
      .sequences = static_cast<int>(B),
      .tokens = static_cast<int>(args.tokens),
      .scale_log2 = args.scale * log2_e,
      .page_table = args.page_table,
      .table_stride = args.table_stride,
      .lengths = args.lengths,
      .most_splits = static_cast<int>(splits),
      .o = reinterpret_cast<__nv_bfloat16*>(args.o),
      .log_sums = args.log_sums,
      .parts = static_cast<float*>(args.workspace),
      .part_log_sums = static_cast<float*>(args.workspace) + B * splits * rows * 512};
  const bool is_shared = (rows + decode_rows - 1) / decode_rows % 2 == 0;
  launch(name, is_shared ? attention_decode_tiles<true> : attention_decode_tiles<false>,
         dim3(multiprocessors), 384, AttentionDecodeMemory::bytes, is_shared ? 2 : 0, stream, q,
         cache, tiles);
  if (splits < 2) return;
  launch(name, attention_decode_combine,
         dim3(static_cast<unsigned>((rows + 3) / 4), static_cast<unsigned>(B)), 128, 0, 0, stream,
         tiles);
}

}  // namespace troupe::kernels::cuda
