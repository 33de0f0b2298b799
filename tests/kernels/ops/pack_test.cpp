#include "kernels/ops/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/ops/rounding.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

TEST(Pack, Bf16NumbersComeBackAsTheyWere) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t D : {1, 7, 128, 200}) {
    const Buffer x = normal({33, D}, 1), y = allocate_f32({33, D});
    const Buffer packed = allocate(DType::bf16, {33, D});
    round_bf16(queue, {.x = x, .y = x});
    pack_rows(queue, {.x = x, .y = packed});
    unpack_rows(queue, {.x = packed, .scales = {}, .y = y});
    queue.wait();
    EXPECT_EQ(to_vector(y), to_vector(x)) << D;
  }
}

// What DeepSeek-V3 dispatches: 1 x 128 tiles of E4M3 with powers of two as scales.
TEST(Pack, RoundedTilesComeBackAsTheyWereAlsoThoseRoundedBefore) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t D : {1, 128, 200, 300}) {
    for (const float size : {1e-6f, 1.0f, 1e4f}) {
      const Buffer x = normal({17, D}, 2), rounded = allocate_f32({17, D}),
                   codes = allocate_f32({17, D}), y = allocate_f32({17, D});
      for (int64_t i = 0; i < x.view.count(); ++i) values<float>(x.view)[i] *= size;
      round_tiles(queue, {.x = x, .format = TileFormat::e4m3, .tile_rows = 1, .tile_cols = 128,
                          .power_of_two = true, .y = rounded});
      const Buffer scales = allocate_f32({17, tiles_over(D, 128)});
      const Buffer packed = allocate(DType::f8_e4m3, {17, D});
      quantize_tiles(queue, {.x = rounded, .format = TileFormat::e4m3, .tile_rows = 1,
                             .tile_cols = 128, .power_of_two = true, .codes = codes,
                             .scales = scales});
      pack_rows(queue, {.x = codes, .y = packed});
      unpack_rows(queue, {.x = packed, .scales = scales, .y = y});
      queue.wait();
      EXPECT_EQ(to_vector(y), to_vector(rounded)) << D << " " << size;
    }
  }
}

TEST(Pack, NoRowsAreNone) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = allocate_f32({0, 8}), packed = allocate(DType::bf16, {0, 8});
  pack_rows(queue, {.x = x, .y = packed});
  unpack_rows(queue, {.x = packed, .scales = {}, .y = x});
  queue.wait();
}

TEST(Pack, WrongShapesAndTypesAreNamed) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer x = allocate_f32({2, 8}), wide = allocate(DType::bf16, {2, 9}),
               packed = allocate(DType::f8_e4m3, {2, 8}), scales = allocate_f32({2, 2});
  EXPECT_THAT(kernel_error([&] { pack_rows(queue, {.x = x, .y = wide}); }),
              HasSubstr("pack_rows y is [2, 9] bf16, wanted [2, 8] bf16"));
  EXPECT_THAT(kernel_error([&] { pack_rows(queue, {.x = x, .y = x}); }),
              HasSubstr("wanted [2, 8] f8_e4m3"));
  EXPECT_THAT(kernel_error([&] { unpack_rows(queue, {.x = packed, .scales = scales, .y = x}); }),
              HasSubstr("unpack_rows scales is [2, 2] f32, wanted [2, 1] f32"));
  EXPECT_THAT(kernel_error([&] { unpack_rows(queue, {.x = packed, .scales = {}, .tile = 0, .y = x}); }),
              HasSubstr("tile is 0"));
}

}  // namespace
}  // namespace troupe::tests
