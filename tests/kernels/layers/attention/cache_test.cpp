#include "kernels/layers/attention/cache.h"

#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"

namespace troupe::tests {
namespace {

using namespace kernels;

TEST(LayerCache, PiecesOfPositionsLieInOnePageEach) {
  LayerCache cache{.page_rows = 4, .length = 0, .pages = {}};
  grow_cache(cache, 10, 3);
  ASSERT_EQ(cache.pages.size(), 3u);

  std::vector<std::pair<int64_t, int64_t>> pieces;
  for_pages(cache, 2, 10, [&](const Tensor& rows, int64_t first) {
    const auto page = static_cast<size_t>(first / 4);
    EXPECT_EQ(values<float>(rows), values<float>(cache.pages[page].view) + first % 4 * 3);
    EXPECT_EQ(rows.cols(), 3);
    pieces.emplace_back(first, rows.rows());
  });

  EXPECT_EQ(pieces, (std::vector<std::pair<int64_t, int64_t>>{{2, 2}, {4, 4}, {8, 2}}));
}

TEST(LayerCache, GrowingKeepsThePagesThatAreThere) {
  LayerCache cache{.page_rows = 4, .length = 0, .pages = {}};
  grow_cache(cache, 3, 2);
  const void* first = cache.pages[0].view.data;

  grow_cache(cache, 4, 2);
  EXPECT_EQ(cache.pages.size(), 1u);
  grow_cache(cache, 5, 2);

  EXPECT_EQ(cache.pages.size(), 2u);
  EXPECT_EQ(cache.pages[0].view.data, first);
  EXPECT_EQ(cache.length, 5);
}

TEST(LayerCache, WhatDoesNotFitIsRefusedByName) {
  LayerCache full{.page_rows = 4, .length = 9, .pages = {}};
  LayerCache bad{.page_rows = 0, .length = 0, .pages = {}};
  const auto error = [](std::vector<CachedSequence> sequences, int64_t rows) {
    return kernel_error([&] { check_caches("layer", sequences, rows, 10); });
  };

  EXPECT_EQ(error({{2, &full}}, 2), "a sequence of 11 positions, the model has 10");
  EXPECT_EQ(error({{1, &full}}, 2), "layer: 2 rows, its sequences have 1");
  EXPECT_EQ(error({{1, &bad}}, 1), "layer: a cache with pages of 0 rows");
  EXPECT_NO_THROW(check_caches("layer", {{1, &full}}, 1, 10));
}

}  // namespace
}  // namespace troupe::tests
