#include "kernels/ops/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/ops/attention_sequence.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using reference::AttentionShape;
using testing::HasSubstr;

TEST(Attention, AgreesWithTheFormula) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const AttentionShape& shape : attention_shapes) {
    const Sequence s(shape, 1);

    const std::vector<float> found = run_attention(queue, s);

    const auto want =
        reference::attention(shape, to_doubles(s.q), to_doubles(s.k), to_doubles(s.v));
    size_t i = 0;
    for (int64_t t = 0; t < shape.S; ++t) {
      for (int64_t c = 0; c < shape.H * shape.dv; ++c) {
        ASSERT_NEAR(found[i++], want.o[t * shape.H * shape.dv + c], 4e-6) << shape.S << ": " << t;
      }
      for (int64_t h = 0; h < shape.H; ++h) {
        ASSERT_NEAR(found[i++], want.log_sums[t * shape.H + h], 4e-6) << shape.S << ": " << t;
      }
    }
  }
}

TEST(Attention, PassesOnANaNOfItsOwn) {
  ThreadPool pool(1);
  Queue queue(pool);
  const AttentionShape shape{30, 1, 1, 8, 8, 0.3};
  const Sequence s(shape, 16);
  values<float>(s.k.view)[20 * 8 + 3] = not_a_number;

  const std::vector<float> found = run_attention(queue, s);

  for (size_t t = 0; t < 30; ++t) {
    for (size_t c = 0; c < 9; ++c) EXPECT_EQ(std::isnan(found[t * 9 + c]), t >= 20) << t;
  }
}

TEST(Attention, SurvivesScoresThatExpCannotHold) {
  ThreadPool pool(1);
  Queue queue(pool);
  AttentionShape shape{50, 2, 2, 16, 8, 400.0};
  const Sequence s(shape, 19);

  const std::vector<float> found = run_attention(queue, s);

  const auto want = reference::attention(shape, to_doubles(s.q), to_doubles(s.k), to_doubles(s.v));
  for (size_t t = 0; t < 50; ++t) {
    for (size_t h = 0; h < 2; ++h) {
      EXPECT_NEAR(found[t * 18 + 16 + h], want.log_sums[t * 2 + h],
                  2e-6 * std::fabs(want.log_sums[t * 2 + h]) + 1e-3);
    }
    for (size_t c = 0; c < 16; ++c) EXPECT_NEAR(found[t * 18 + c], want.o[t * 16 + c], 4e-3);
  }
}

// The absorbed form of MLA: all heads share a key, and a value is the first columns of its key.
TEST(Attention, TakesSlicesOfColumnsEverywhere) {
  ThreadPool pool(2);
  Queue queue(pool);
  const AttentionShape shape{100, 4, 1, 40, 32, 0.2};
  Sequence s(shape, 22);
  for (int64_t t = 0; t < shape.S; ++t) {
    std::copy_n(values<float>(s.k.view) + t * 40, 32, values<float>(s.v.view) + t * 32);
  }
  const std::vector<float> expected = run_attention(queue, s);
  const Paged cache(s.k, 24, 9);
  KeyPages first_columns = cache.keys;
  for (ConstTensor& page : first_columns.pages) page = columns(page, 0, 32);
  const Widened q(s.q);
  const Buffer out = allocate_f32({100, 4 * 32 + 4 + 3});

  attention(queue, {.q = q.view(),
                    .heads = 4,
                    .key_heads = 1,
                    .scale = s.scale(),
                    .sequences = {{.query_row = 0,
                                   .queries = 100,
                                   .first_position = 0,
                                   .keys = cache.keys,
                                   .values = first_columns}},
                    .o = columns(out.view, 1, 128),
                    .log_sums = columns(out.view, 130, 4)});
  queue.wait();

  EXPECT_TRUE(same_bits(joined(columns(out.view, 1, 128), columns(out.view, 130, 4)), expected));
}

TEST(Attention, WritesTheRowsOfItsSequencesAlone) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Sequence s({10, 2, 2, 8, 8, 0.3}, 25);
  const Buffer o = allocate_f32({10, 16});
  std::fill_n(values<float>(o.view), 160, -7.0f);

  attention(queue, {.q = s.q,
                    .heads = 2,
                    .key_heads = 2,
                    .scale = 0.3f,
                    .sequences = {},
                    .o = o,
                    .log_sums = {}});
  attention(queue, {.q = s.q,
                    .heads = 2,
                    .key_heads = 2,
                    .scale = 0.3f,
                    .sequences = {{.query_row = 4,
                                   .queries = 2,
                                   .first_position = 0,
                                   .keys = one_page(s.k),
                                   .values = one_page(s.v)},
                                  {.query_row = 10,
                                   .queries = 0,
                                   .first_position = 3,
                                   .keys = {.pages = {}, .page_rows = 1},
                                   .values = {.pages = {}, .page_rows = 1}}},
                    .o = o,
                    .log_sums = {}});
  queue.wait();

  for (int i = 0; i < 160; ++i) EXPECT_EQ(values<float>(o.view)[i] == -7.0f, i < 64 || i >= 96);
}

TEST(Attention, RefusesWhatDoesNotFit) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Sequence s({10, 2, 2, 8, 6, 0.3}, 28);
  const Buffer o = allocate_f32({10, 12}), log_sums = allocate_f32({10, 2});
  const AttentionArgs good{.q = s.q,
                           .heads = 2,
                           .key_heads = 2,
                           .scale = 0.3f,
                           .sequences = {{.query_row = 0,
                                          .queries = 10,
                                          .first_position = 0,
                                          .keys = one_page(s.k),
                                          .values = one_page(s.v)}},
                           .o = o,
                           .log_sums = log_sums};
  const auto error = [&](auto change) {
    AttentionArgs args = good;
    change(args);
    return kernel_error([&] { attention(queue, args); });
  };

  EXPECT_THAT(error([](auto& a) { a.heads = 3; }),
              HasSubstr("q is [10, 16] f32, wanted columns for 3"));
  EXPECT_THAT(error([](auto& a) { a.heads = 0; }), HasSubstr("columns for 0 heads"));
  EXPECT_THAT(error([](auto& a) { a.key_heads = 3; }), HasSubstr("key_heads 3, wanted a divisor of 2"));
  EXPECT_THAT(error([](auto& a) { a.key_heads = 0; }), HasSubstr("key_heads 0, wanted a divisor"));
  EXPECT_THAT(error([&](auto& a) { a.o = row_range(o.view, 0, 9); }), HasSubstr("attention o"));
  EXPECT_THAT(error([&](auto& a) { a.log_sums = columns(log_sums.view, 0, 1); }),
              HasSubstr("log_sums"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].query_row = 1; }), HasSubstr("rows 1 + 10 of 10"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].queries = -1; }), HasSubstr("rows 0 + -1 of 10"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].first_position = -1; }), HasSubstr("position -1"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].first_position = INT64_MAX; }),
              HasSubstr("begins at position"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].first_position = 1; }),
              HasSubstr("sequence 0 keys: 1 pages of 10 rows, wanted 11"));
  EXPECT_THAT(error([](auto& a) {
                a.sequences.push_back(a.sequences[0]);
                a.sequences[1].query_row = 9, a.sequences[1].queries = 1;
              }),
              HasSubstr("two sequences have row 9"));
  EXPECT_THAT(error([](auto& a) { a.sequences[0].keys.page_rows = 0; }), HasSubstr("pages of 0"));
  EXPECT_THAT(error([&](auto& a) { a.sequences[0].values = one_page(s.k); }),
              HasSubstr("values: page 0 is [10, 16] f32, wanted [10 or more, 12] f32"));
  EXPECT_THAT(error([&](auto& a) { a.sequences[0].keys.pages[0] = row_range(s.k.view, 0, 9); }),
              HasSubstr("keys: page 0 is [9, 16] f32"));
}

}  // namespace
}  // namespace troupe::tests
