#include "kernels/cuda/attention/attention_sm90.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/tensor.h"
#include "tests/kernels/cuda/attention/attention_sm90_case.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

class AttentionSm90 : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

const std::vector<int64_t> odd_lengths{1, 63, 300, 128, 64, 129, 7, 127, 65, 256};

void expect_formula(const AttentionCase& x, const AttentionOut& out) {
  int64_t first = 0;
  for (size_t s = 0; s < x.keys.size(); ++s) {
    for (int64_t head = 0; head < x.heads; ++head) {
      SCOPED_TRACE("sequence " + std::to_string(s) + ", head " + std::to_string(head));
      const HeadReference wanted = reference_of(x, s, head);
      const Difference o =
          difference(head_rows(out.o, x.heads, value_width, head, first, x.queries[s]), wanted.o);
      EXPECT_LT(o.relative, 5e-3);
      EXPECT_LT(o.greatest, 3e-2);
      for (int64_t i = 0; i < x.queries[s]; ++i) {
        EXPECT_NEAR(out.log_sums[static_cast<size_t>(head * out.total + first + i)],
                    wanted.log_sums[static_cast<size_t>(i)], 2e-5);
      }
    }
    first += x.queries[s];
  }
}

/// Rows `first` to `first + rows` of both results.
AttentionOut rows_of(const AttentionOut& out, int64_t heads, int64_t first, int64_t rows) {
  AttentionOut part{rows_from(out.o, heads * value_width, first, rows), {}, rows};
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t r = first; r < first + rows; ++r) {
      part.log_sums.push_back(out.log_sums[static_cast<size_t>(head * out.total + r)]);
    }
  }
  return part;
}

TEST_F(AttentionSm90, FollowsTheFormulaForDocumentsOfAnyLength) {
  const AttentionCase x = make_attention(3, odd_lengths, odd_lengths, 1);

  expect_formula(x, run_attention(x));
}

TEST_F(AttentionSm90, FollowsTheFormulaForTheLastQueriesOfLongerSequences) {
  const AttentionCase x = make_attention(2, {200, 385, 128, 500}, {1, 130, 64, 77}, 2);

  expect_formula(x, run_attention(x));
}

TEST_F(AttentionSm90, TakesSequencesOfOneLengthWithoutOffsets) {
  const AttentionCase x = make_attention(2, {200, 200, 200}, {200, 200, 200}, 3);

  EXPECT_EQ(run_attention(x, false), run_attention(x));
}

TEST_F(AttentionSm90, GivesARowItsBitsWhateverElseIsInTheCall) {
  const AttentionCase x = make_attention(3, odd_lengths, odd_lengths, 4);
  const AttentionOut all = run_attention(x);
  EXPECT_EQ(run_attention(x), all);

  int64_t first = 0;
  for (size_t s = 0; s < odd_lengths.size(); ++s) {
    const int64_t rows = odd_lengths[s];
    EXPECT_EQ(rows_of(run_attention(part_of(x, s, 0, rows)), 3, 0, rows),
              rows_of(all, 3, first, rows))
        << "sequence " << s;
    first += rows;
  }
}

TEST_F(AttentionSm90, GivesARowItsBitsHoweverItsSequenceIsCut) {
  const AttentionCase x = make_attention(2, {700}, {700}, 5);
  const AttentionOut all = run_attention(x);

  for (const std::vector<int64_t>& cuts : std::vector<std::vector<int64_t>>{
           {0, 1, 2, 130, 131, 700}, {0, 128, 256, 700}, {0, 77, 205, 460, 587, 699, 700}}) {
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const int64_t rows = cuts[i + 1] - cuts[i];
      EXPECT_EQ(rows_of(run_attention(part_of(x, 0, cuts[i], rows)), 2, 0, rows),
                rows_of(all, 2, cuts[i], rows))
          << "rows " << cuts[i] << " to " << cuts[i + 1];
    }
  }
}

TEST_F(AttentionSm90, LetsNothingInFromOtherDocumentsAndLeavesRowsBehindThemAlone) {
  AttentionCase x = make_attention(2, {100, 60, 200}, {100, 60, 200}, 6);
  const AttentionOut clean = run_attention(x);
  const auto poison = [&](std::vector<uint16_t>& rows, int64_t width) {
    std::fill_n(rows.begin() + 100 * 2 * width, 60 * 2 * width, bf16_nan);
  };
  poison(x.q, query_width);
  poison(x.k, nope_width);
  poison(x.k_rope, rope_width);
  poison(x.v, value_width);

  const AttentionOut poisoned = run_attention(x);

  EXPECT_EQ(rows_of(poisoned, 2, 0, 100), rows_of(clean, 2, 0, 100));
  EXPECT_EQ(rows_of(poisoned, 2, 160, 200), rows_of(clean, 2, 160, 200));
  for (int64_t r = 360; r < poisoned.total; ++r) {
    EXPECT_EQ(poisoned.o[static_cast<size_t>(r * 2 * value_width)], bf16_nan);
    EXPECT_EQ(poisoned.log_sums[static_cast<size_t>(r)], -7.0f);
  }
}

TEST_F(AttentionSm90, ReadsOneRotatedKeyForAllHeadsAndKeysBesideValues) {
  const int64_t H = 3, rows = 200, kv_width = nope_width + value_width;
  AttentionCase x = make_attention(H, {rows}, {rows}, 7, 0);
  std::vector<uint16_t> shared, kv;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < rope_width; ++c) {
      const uint16_t value = x.k_rope[static_cast<size_t>(r * H * rope_width + c)];
      shared.push_back(value);
      for (int64_t h = 1; h < H; ++h) {
        x.k_rope[static_cast<size_t>((r * H + h) * rope_width + c)] = value;
      }
    }
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t c = 0; c < kv_width; ++c) {
        kv.push_back(c < nope_width
                         ? x.k[static_cast<size_t>((r * H + h) * nope_width + c)]
                         : x.v[static_cast<size_t>((r * H + h) * value_width + c - nope_width)]);
      }
    }
  }
  const DeviceArray<uint16_t> q(x.q), all_kv(kv), rope(shared);
  DeviceArray<uint16_t> o(static_cast<size_t>(rows * H * value_width), bf16_nan);
  DeviceArray<float> log_sums(static_cast<size_t>(H * rows), 0.0f);
  DeviceArray<int32_t> counter(1, 0);

  kernels::cuda::attention_forward_sm90({.heads = H,
                                         .sequences = 1,
                                         .queries = {nullptr, rows, rows},
                                         .keys = {nullptr, rows, rows},
                                         .scale = x.scale,
                                         .q = {q.data(), H * query_width, query_width},
                                         .k = {all_kv.data(), H * kv_width, kv_width},
                                         .k_rope = {rope.data(), rope_width, 0},
                                         .v = {all_kv.data() + nope_width, H * kv_width, kv_width},
                                         .o = o.data(),
                                         .log_sums = log_sums.data(),
                                         .counter = counter.data()},
                                        nullptr);

  EXPECT_EQ((AttentionOut{o.values(), log_sums.values(), rows}), run_attention(x));
}

TEST_F(AttentionSm90, NamesATensorThatIsNotAligned) {
  const DeviceArray<uint16_t> data(4096, bf16_nan);
  const kernels::cuda::HeadRows rows{data.data(), 192, 192}, odd{data.data() + 1, 192, 192};
  try {
    kernels::cuda::attention_forward_sm90({.heads = 1,
                                           .sequences = 1,
                                           .queries = {nullptr, 8, 8},
                                           .keys = {nullptr, 8, 8},
                                           .scale = 1,
                                           .q = odd,
                                           .k = rows,
                                           .k_rope = rows,
                                           .v = rows,
                                           .o = nullptr,
                                           .log_sums = nullptr,
                                           .counter = nullptr},
                                          nullptr);
    FAIL() << "took q at an odd address";
  } catch (const kernels::KernelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("attention_forward_sm90 q of 8 x 192"));
  }
}

}  // namespace
}  // namespace troupe::tests
