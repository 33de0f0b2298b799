// Attention of MLA in its absorbed form on Hopper's tensor cores, as a launcher over raw device
// pointers: queries of 576 columns (512 against the latent, 64 rotated ones) over a paged cache of
// such rows, whose first 512 columns are the values too.
//
// The order of the arithmetic sm_90a: keys in splits of 4096 from the sequence's first on, in each
// of them tiles of 64; scores and outputs as the tensor cores sum, exp2 and the running maximum as
// in attention_sm90.h; a row's sum is that of even tiles plus that of odd ones; splits combined
// ascending with the greatest of their maxima.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace troupe::kernels::cuda {

constexpr int attention_decode_page = 64;  ///< rows of a page of the cache

/// B sequences with N new tokens each, H heads. A sequence's new tokens are its last positions; the
/// cache has their rows already.
struct AttentionDecodeSm90Args {
  int64_t heads;
  int64_t sequences;      ///< B
  int64_t tokens;         ///< N: 1, or more where several are verified at a time
  float scale;            ///< multiplies the scores; above 0
  const uint16_t* q;      ///< [B, N, H, 576] bfloat16, 16-byte aligned
  const uint16_t* cache;  ///< [pages, 64, 576] bfloat16, 16-byte aligned
  int64_t pages;
  const int32_t*
      page_table;  ///< [B, table_stride]: pages of a sequence; read as far as it has keys
  int64_t table_stride;
  const int32_t* lengths;  ///< [B] keys, new tokens included; 0: nothing is seen, o is 0
  int64_t longest;         ///< no sequence has more keys
  uint16_t* o;             ///< out: [B, N, H, 512] bfloat16
  float* log_sums;  ///< out: [B, N, H] f32, ln sum exp of the scaled scores; -infinity: no key
  void* workspace;  ///< of attention_decode_sm90_workspace_bytes, 256-byte aligned
};

/// 0 where no sequence has more keys than a split.
int64_t attention_decode_sm90_workspace_bytes(int64_t heads, int64_t sequences, int64_t tokens,
                                              int64_t longest);

/// Law 1: a row's result depends on its query and on the keys up to its position alone, whatever
/// sequences, heads, tokens and pages there are besides. Rows of the cache behind a sequence's end
/// are never used. Asynchronous on `stream`. Throws KernelError if a size is not as stated or the
/// launch fails.
void attention_decode_sm90(const AttentionDecodeSm90Args& args, cudaStream_t stream);

}  // namespace troupe::kernels::cuda
