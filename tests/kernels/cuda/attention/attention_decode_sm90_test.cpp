#include "kernels/cuda/attention/attention_decode_sm90.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "kernels/ops/quantize.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/device_array.h"

namespace troupe::tests {
namespace {

using testing::HasSubstr;

constexpr int64_t width = 576, values = 512, page = kernels::cuda::attention_decode_page;
constexpr uint16_t bf16_nan = 0x7fc1;
constexpr float scale = 0.1f;

class AttentionDecodeSm90 : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

/// Sequences with their keys row by row; the last `tokens` positions have queries.
struct DecodeCase {
  int64_t heads, tokens;
  std::vector<int32_t> lengths;
  std::vector<std::vector<uint16_t>> keys;  ///< of a sequence: [length, 576]
  std::vector<uint16_t> q;                  ///< [B, tokens, heads, 576]
};

std::vector<uint16_t> normal(Numbers& numbers, int64_t count) {
  std::vector<uint16_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(kernels::f32_to_bf16(numbers.normal()));
  return out;
}

DecodeCase make(int64_t heads, int64_t tokens, const std::vector<int32_t>& lengths, uint64_t seed) {
  DecodeCase x{heads, tokens, lengths, {}, {}};
  Numbers numbers(seed);
  for (const int32_t length : lengths) x.keys.push_back(normal(numbers, length * width));
  x.q = normal(numbers, static_cast<int64_t>(lengths.size()) * tokens * heads * width);
  return x;
}

struct DecodeOut {
  std::vector<uint16_t> o;      ///< [B, tokens, heads, 512]
  std::vector<float> log_sums;  ///< [B, tokens, heads]
  bool operator==(const DecodeOut&) const = default;
};

/// With pages dealt out in an order that `seed` gives, what is not a key filled with `filling`, and
/// nonsense behind the used part of the page table.
DecodeOut run(const DecodeCase& x, uint64_t seed = 1, uint16_t filling = bf16_nan) {
  const auto B = static_cast<int64_t>(x.lengths.size());
  const int64_t longest = *std::max_element(x.lengths.begin(), x.lengths.end());
  const int64_t stride = longest / page + 3;
  int64_t pages = 2;
  for (const int32_t length : x.lengths) pages += (length + page - 1) / page;
  std::vector<int32_t> order(static_cast<size_t>(pages));
  std::iota(order.begin(), order.end(), 0);
  Numbers numbers(seed);
  for (size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<size_t>(numbers.integer(0, static_cast<int>(i)))]);
  }
  std::vector<uint16_t> cache(static_cast<size_t>(pages * page * width), filling);
  std::vector<int32_t> table(static_cast<size_t>(B * stride), 1 << 30);
  auto next = order.begin();
  for (int64_t b = 0; b < B; ++b) {
    const auto& keys = x.keys[static_cast<size_t>(b)];
    for (int64_t row = 0; row < x.lengths[static_cast<size_t>(b)]; row += page) {
      const int64_t rows = std::min(page, x.lengths[static_cast<size_t>(b)] - row);
      std::copy_n(keys.begin() + row * width, rows * width, cache.begin() + *next * page * width);
      table[static_cast<size_t>(b * stride + row / page)] = *next++;
    }
  }
  const DeviceArray<uint16_t> q(x.q), cached(cache);
  const DeviceArray<int32_t> tables(table), lengths(x.lengths);
  DeviceArray<uint16_t> o(static_cast<size_t>(B * x.tokens * x.heads * values), bf16_nan);
  DeviceArray<float> log_sums(static_cast<size_t>(B * x.tokens * x.heads), NAN);
  const int64_t bytes =
      kernels::cuda::attention_decode_sm90_workspace_bytes(x.heads, B, x.tokens, longest);
  DeviceArray<float> workspace(static_cast<size_t>(bytes / 4), NAN);
  kernels::cuda::attention_decode_sm90({.heads = x.heads,
                                        .sequences = B,
                                        .tokens = x.tokens,
                                        .scale = scale,
                                        .q = q.data(),
                                        .cache = cached.data(),
                                        .pages = pages,
                                        .page_table = tables.data(),
                                        .table_stride = stride,
                                        .lengths = lengths.data(),
                                        .longest = longest,
                                        .o = o.data(),
                                        .log_sums = log_sums.data(),
                                        .workspace = workspace.data()},
                                       nullptr);
  return {o.values(), log_sums.values()};
}

void expect_formula(const DecodeCase& x) {
  const DecodeOut out = run(x);
  for (size_t b = 0; b < x.lengths.size(); ++b) {
    double error = 0, size = 0;
    for (int64_t row = 0; row < x.tokens * x.heads; ++row) {
      const int64_t at = static_cast<int64_t>(b) * x.tokens * x.heads + row;
      const int64_t seen = x.lengths[b] - x.tokens + row / x.heads + 1;
      std::vector<double> scores, wanted(values, 0.0);
      const auto number = [](uint16_t bits) { return double{kernels::bf16_to_f32(bits)}; };
      for (int64_t j = 0; j < seen; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < width; ++c) {
          sum += number(x.q[static_cast<size_t>(at * width + c)]) *
                 number(x.keys[b][static_cast<size_t>(j * width + c)]);
        }
        scores.push_back(sum * scale);
      }
      const double most = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& score : scores) sum += score = std::exp(score - most);
      for (int64_t j = 0; j < seen; ++j) {
        for (int64_t c = 0; c < values; ++c) {
          wanted[static_cast<size_t>(c)] += scores[static_cast<size_t>(j)] / sum *
                                            number(x.keys[b][static_cast<size_t>(j * width + c)]);
        }
      }
      for (int64_t c = 0; c < values; ++c) {
        const double e =
            number(out.o[static_cast<size_t>(at * values + c)]) - wanted[static_cast<size_t>(c)];
        error += e * e;
        size += wanted[static_cast<size_t>(c)] * wanted[static_cast<size_t>(c)];
      }
      EXPECT_NEAR(out.log_sums[static_cast<size_t>(at)], most + std::log(sum), 2e-5)
          << "sequence " << b << ", row " << row;
    }
    EXPECT_LT(std::sqrt(error / size), 5e-3) << "sequence " << b;
  }
}

TEST_F(AttentionDecodeSm90, FollowsTheFormulaForCachesOfAnyLength) {
  expect_formula(make(16, 1, {1, 63, 64, 65, 200, 2047, 4096, 4097, 5000}, 1));
}

TEST_F(AttentionDecodeSm90, FollowsTheFormulaForSeveralTokensAndManyHeads) {
  expect_formula(make(16, 3, {3, 66, 129, 4097, 4098}, 2));
  expect_formula(make(128, 2, {2, 300}, 3));
  expect_formula(make(80, 1, {100, 129}, 4));
}

/// The rows of sequence `b`, with tokens `first` to `first + tokens` and the keys up to the last.
DecodeCase part_of(const DecodeCase& x, size_t b, int64_t first, int64_t tokens) {
  const auto length = static_cast<int32_t>(x.lengths[b] - x.tokens + first + tokens);
  const auto q = x.q.begin() + (static_cast<int64_t>(b) * x.tokens + first) * x.heads * width;
  return {x.heads,
          tokens,
          {length},
          {{x.keys[b].begin(), x.keys[b].begin() + length * width}},
          {q, q + tokens * x.heads * width}};
}
DecodeOut part_of(const DecodeCase& x, const DecodeOut& out, size_t b, int64_t first,
                  int64_t tokens) {
  const int64_t row = (static_cast<int64_t>(b) * x.tokens + first) * x.heads;
  const int64_t rows = tokens * x.heads;
  return {{out.o.begin() + row * values, out.o.begin() + (row + rows) * values},
          {out.log_sums.begin() + row, out.log_sums.begin() + row + rows}};
}

TEST_F(AttentionDecodeSm90, GivesARowItsBitsWhateverElseIsInTheCall) {
  for (const int64_t heads : {16, 64, 128}) {
    const DecodeCase x = make(heads, 1, {1, 64, 65, 700, 4096, 4097, 9000, 130}, 5);
    const DecodeOut all = run(x);
    EXPECT_EQ(run(x), all);
    EXPECT_EQ(run(x, 2), all) << "other pages";
    for (size_t b = 0; b < x.lengths.size(); ++b) {
      EXPECT_EQ(run(part_of(x, b, 0, 1)), part_of(x, all, b, 0, 1))
          << heads << " heads, sequence " << b;
    }
  }
}

TEST_F(AttentionDecodeSm90, GivesATokenItsBitsWhetherItComesAloneOrWithOthers) {
  const DecodeCase x = make(48, 4, {4, 66, 130, 4097, 4098, 8195}, 6);
  const DecodeOut all = run(x);
  for (size_t b = 0; b < x.lengths.size(); ++b) {
    for (int64_t token = 0; token < 4; ++token) {
      EXPECT_EQ(run(part_of(x, b, token, 1)), part_of(x, all, b, token, 1))
          << "sequence " << b << ", token " << token;
    }
    EXPECT_EQ(run(part_of(x, b, 0, 3)), part_of(x, all, b, 0, 3)) << "sequence " << b;
  }
}

TEST_F(AttentionDecodeSm90, GivesAHeadItsBitsWhateverTheOthers) {
  const DecodeCase x = make(128, 1, {300, 5000}, 7);
  const DecodeOut all = run(x);
  DecodeCase some{16, 1, x.lengths, x.keys, {}};
  DecodeOut wanted;
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t row = b * 128 + 96;
    some.q.insert(some.q.end(), x.q.begin() + row * width, x.q.begin() + (row + 16) * width);
    wanted.o.insert(wanted.o.end(), all.o.begin() + row * values,
                    all.o.begin() + (row + 16) * values);
    wanted.log_sums.insert(wanted.log_sums.end(), all.log_sums.begin() + row,
                           all.log_sums.begin() + row + 16);
  }

  EXPECT_EQ(run(some), wanted);
}

TEST_F(AttentionDecodeSm90, NeverUsesWhatIsBehindASequencesEnd) {
  const DecodeCase x = make(16, 2, {2, 65, 127, 4200}, 8);

  EXPECT_EQ(run(x, 1, bf16_nan), run(x, 1, kernels::f32_to_bf16(1.0f)));
}

TEST_F(AttentionDecodeSm90, GivesZeroWhereThereIsNoKey) {
  const DecodeCase x = make(16, 1, {0, 70, 0}, 9);

  const DecodeOut out = run(x);

  for (const size_t b : {0, 2}) {
    const DecodeOut part = part_of(x, out, b, 0, 1);
    EXPECT_THAT(part.o, testing::Each(0));
    EXPECT_THAT(part.log_sums, testing::Each(-std::numeric_limits<float>::infinity()));
  }
}

TEST_F(AttentionDecodeSm90, NamesATensorThatIsNotAligned) {
  const DeviceArray<uint16_t> data(4096, bf16_nan);
  kernels::cuda::AttentionDecodeSm90Args args{};
  args.heads = args.sequences = args.tokens = args.pages = 1;
  args.q = data.data() + 1;
  args.cache = data.data();
  try {
    kernels::cuda::attention_decode_sm90(args, nullptr);
    FAIL() << "took q at an odd address";
  } catch (const kernels::KernelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("attention_decode_sm90 q of 1 x 576"));
  }
}

}  // namespace
}  // namespace troupe::tests
