#include "kernels/layers/attention/cache.h"

#include <string>

namespace troupe::kernels {

void check_caches(const char* what, const std::vector<CachedSequence>& sequences, int64_t rows,
                  int64_t max_positions) {
  const std::string name = what;
  int64_t of_sequences = 0;
  for (const CachedSequence& part : sequences) {
    const int64_t end = part.cache->length + part.rows;
    if (part.cache->page_rows <= 0) {
      throw KernelError(name + ": a cache with pages of " + std::to_string(part.cache->page_rows) +
                        " rows");
    }
    if (end > max_positions) {
      throw KernelError("a sequence of " + std::to_string(end) + " positions, the model has " +
                        std::to_string(max_positions));
    }
    of_sequences += part.rows;
  }
  if (of_sequences != rows) {
    throw KernelError(name + ": " + std::to_string(rows) + " rows, its sequences have " +
                      std::to_string(of_sequences));
  }
}

void grow_cache(LayerCache& cache, int64_t length, int64_t width) {
  while (static_cast<int64_t>(cache.pages.size()) * cache.page_rows < length) {
    cache.pages.push_back(allocate_f32({cache.page_rows, width}));
  }
  cache.length = length;
}

}  // namespace troupe::kernels
