// What a layer's attention keeps of a sequence, row by row, while it grows.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/queue.h"

namespace troupe::kernels {

/// The rows of one sequence in one layer, in pages of `page_rows` positions. W is C + R in latent
/// attention (MLA), and 2 * H_kv * head width in grouped-query attention (GQA): keys, then values.
struct LayerCache {
  int64_t page_rows = 64;
  int64_t length = 0;         ///< positions filled
  std::vector<Buffer> pages;  ///< [page_rows, W] f32
};

/// A sequence's rows in a call with caches: they continue it.
struct CachedSequence {
  int64_t rows;
  LayerCache* cache;  ///< grows by `rows`; outlives the operations
};

/// Before any cache grows, so that a refused call changes none: throws KernelError, beginning with
/// `what`, if the sequences' rows are not the call's `rows` or a sequence outgrows the model.
void check_caches(const char* what, const std::vector<CachedSequence>& sequences, int64_t rows,
                  int64_t max_positions);

/// Lets a cache grow to `length` rows of `width` columns. The new rows are not filled.
void grow_cache(LayerCache& cache, int64_t length, int64_t width);

/// Calls f(rows of a page as a tensor, first position) for each piece of positions [begin, end)
/// that lies in one page.
template <class F>
void for_pages(const LayerCache& cache, int64_t begin, int64_t end, F f) {
  while (begin < end) {
    const int64_t page = begin / cache.page_rows, offset = begin % cache.page_rows;
    const int64_t n = std::min(end - begin, cache.page_rows - offset);
    f(row_range(cache.pages[static_cast<size_t>(page)].view, offset, n), begin);
    begin += n;
  }
}

}  // namespace troupe::kernels
