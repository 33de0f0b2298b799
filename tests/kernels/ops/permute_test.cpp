#include "kernels/ops/permute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/permute.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// T tokens with K experts each, in two sources.
struct Combine {
  int64_t T, K, D;
  std::vector<Buffer> sources;
  Buffer source, row, group, weight;

  Combine(int64_t tokens, int64_t experts, int64_t width) : T(tokens), K(experts), D(width) {
    sources = {normal({T, D}, 11), normal({2 * T, D}, 12)};
    source = integers(random_integers(T * K, 2, 13), {T, K});
    row = integers(random_integers(T * K, static_cast<uint64_t>(T), 14), {T, K});
    std::vector<int32_t> groups(static_cast<size_t>(T * K));
    for (size_t i = 0; i < groups.size(); ++i) {
      const size_t k = i % static_cast<size_t>(K), t = i / static_cast<size_t>(K);
      groups[i] = static_cast<int32_t>((k + t % 2) / 2);
    }
    group = integers(groups, {T, K});
    weight = normal({T, K}, 15);
  }

  CombineRowsArgs args(const Tensor& y) const {
    return {.rows = {sources[0], sources[1]},
            .source = source,
            .row = row,
            .group = group,
            .weight = weight,
            .y = y};
  }
};

TEST(Permute, GathersRowsByIndex) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer x = normal({5, 3}, 1), index = integers({4, 0, 4}, {3}), y = allocate_f32({3, 3});

  gather_rows(queue, {.x = x, .index = index, .y = y});
  queue.wait();

  const auto xs = to_vector(x), ys = to_vector(y);
  EXPECT_TRUE(std::equal(ys.begin(), ys.begin() + 3, xs.begin() + 12));
  EXPECT_TRUE(std::equal(ys.begin() + 3, ys.begin() + 6, xs.begin()));
  EXPECT_TRUE(std::equal(ys.begin() + 6, ys.end(), xs.begin() + 12));
}

TEST(Permute, AnIndexOutsideIsAnErrorFromTheQueue) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer x = normal({5, 3}, 1), y = allocate_f32({2, 3});
  for (const int32_t bad : {5, -1}) {
    const Buffer index = integers({0, bad}, {2});

    gather_rows(queue, {.x = x, .index = index, .y = y});

    EXPECT_THAT(kernel_error([&] { queue.wait(); }),
                HasSubstr("index " + std::to_string(bad) + " at row 1, wanted 0 to 4"));
  }
}

TEST(Permute, CombinesWeightedRows) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Combine c(7, 4, 37);
  const Buffer y = allocate_f32({c.T, c.D});

  combine_rows(queue, c.args(y));
  queue.wait();

  Doubles expected;
  for (int64_t i = 0; i < c.T * c.K; i += c.K) {
    std::vector<reference::Contribution> contributions;
    for (int64_t j = i; j < i + c.K; ++j) {
      const Buffer& from = c.sources[static_cast<size_t>(values<int32_t>(c.source.view)[j])];
      const int64_t row = values<int32_t>(c.row.view)[j];
      contributions.push_back({to_doubles(row_range(from.view, row, 1)),
                               values<float>(c.weight.view)[j], values<int32_t>(c.group.view)[j]});
    }
    const Doubles token = reference::combine_row(contributions, static_cast<size_t>(c.D));
    expected.insert(expected.end(), token.begin(), token.end());
  }
  EXPECT_LT(relative_difference(to_doubles(y), expected), 3e-7);
}

// Law 2: a group's sum is formed first, by FMA in id order, then groups are added in id order.
TEST(Permute, CombineAddsWithinGroupsBeforeAcrossThem) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer rows = floats({1.0f, 0x1p-24f, 0x1p-24f}, {3, 1}), y = allocate_f32({2, 1});
  const Buffer source = integers({0, 0, 0, 0, 0, 0}, {2, 3});
  const Buffer row = integers({0, 1, 2, 0, 1, 2}, {2, 3});
  const Buffer group = integers({0, 0, 0, 0, 1, 1}, {2, 3});
  const Buffer ones = floats({1, 1, 1, 1, 1, 1}, {2, 3});
  CombineRowsArgs args{
      .rows = {rows}, .source = source, .row = row, .group = group, .weight = {}, .y = y};
  for (const bool weighted : {false, true}) {
    if (weighted) args.weight = ones;
    combine_rows(queue, args);
    queue.wait();

    EXPECT_EQ(to_vector(y)[0], 1.0f);             // (1 + u) + u, each rounded away
    EXPECT_EQ(to_vector(y)[1], 1.0f + 0x1p-23f);  // 1 + (u + u)
  }
}

TEST(Permute, CombineRoundsEachGroupsSumOnceWhereItIsToldTo) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer rows = floats({1.0f, 0x1p-9f, 0x1p-8f}, {3, 1}), y = allocate_f32({2, 1});
  const Buffer source = integers({0, 0, 0, 0, 0, 0}, {2, 3});
  const Buffer row = integers({0, 1, 2, 0, 1, 2}, {2, 3});
  const Buffer group = integers({0, 0, 0, 0, 1, 1}, {2, 3});

  combine_rows(queue, {.rows = {rows}, .source = source, .row = row, .group = group, .weight = {},
                       .y = y, .rounds_groups = true});
  queue.wait();

  EXPECT_EQ(to_vector(y)[0], 1.0f + 0x1p-7f);               // 1 + 3/512, to the nearest BF16
  EXPECT_EQ(to_vector(y)[1], 1.0f + (0x1p-9f + 0x1p-8f));   // groups that are BF16 already
}

// Law 2: where a group's sum is made shows in no bit.
TEST(Permute, SumsOfGroupsMadeElsewhereStandForTheirRows) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const bool rounds : {false, true}) {
    const Combine c(9, 4, 37);
    const Buffer wanted = allocate_f32({c.T, c.D}), found = allocate_f32({c.T, c.D});
    CombineRowsArgs whole = c.args(wanted);
    whole.rounds_groups = rounds;
    combine_rows(queue, whole);
    queue.wait();

    // Every other token's first group is summed by itself: one slot a row, the others empty.
    const auto ints = [](const Buffer& b) {
      const int32_t* first = values<int32_t>(b.view);
      return std::vector<int32_t>(first, first + b.view.count());
    };
    std::vector<int32_t> source = ints(c.source), row = ints(c.row);
    const std::vector<int32_t> group = ints(c.group);
    const Buffer sums = allocate_f32({c.T, c.D});
    std::vector<int32_t> alone(source.size(), -1), zeros(source.size(), 0);
    for (int64_t t = 0; t < c.T; ++t) {
      const auto first = static_cast<size_t>(t * c.K);
      for (size_t i = first; i < first + static_cast<size_t>(c.K) && group[i] == group[first]; ++i) {
        alone[i] = source[i];
        if (t % 2 == 1) continue;
        source[i] = i == first ? static_cast<int32_t>(c.sources.size()) : -1;
      }
    }
    CombineRowsArgs part = c.args(sums);
    const Buffer alone_table = integers(alone, {c.T, c.K}), one_group = integers(zeros, {c.T, c.K});
    part.source = alone_table;
    part.group = one_group;
    part.rounds_groups = rounds;
    combine_rows(queue, part);
    CombineRowsArgs rest = c.args(found);
    for (int64_t t = 0; t < c.T; t += 2) row[static_cast<size_t>(t * c.K)] = static_cast<int32_t>(t);
    const Buffer source_table = integers(source, {c.T, c.K}), row_table = integers(row, {c.T, c.K});
    rest.rows.push_back(sums);
    rest.source = source_table;
    rest.row = row_table;
    rest.are_sums = std::vector<bool>(c.sources.size(), false);
    rest.are_sums.push_back(true);
    rest.rounds_groups = rounds;
    combine_rows(queue, rest);
    queue.wait();

    EXPECT_EQ(to_vector(found), to_vector(wanted));
  }
}

TEST(Permute, CombineOfNoExpertsIsZero) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer y = normal({3, 17}, 3);
  const Buffer none = allocate(DType::i32, {3, 0});

  combine_rows(queue,
               {.rows = {}, .source = none, .row = none, .group = none, .weight = {}, .y = y});
  queue.wait();

  EXPECT_EQ(to_vector(y), std::vector<float>(3 * 17, 0.0f));
}

TEST(Permute, CombineRefusesWhatLeadsOutsideOrBreaksTheOrder) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer rows = normal({3, 4}, 1), y = allocate_f32({1, 4});
  const auto error = [&](int32_t source, int32_t row, int32_t group) {
    const Buffer sources = integers({0, source}, {1, 2}), rs = integers({0, row}, {1, 2}),
                 groups = integers({1, group}, {1, 2});
    combine_rows(
        queue,
        {.rows = {rows}, .source = sources, .row = rs, .group = groups, .weight = {}, .y = y});
    return kernel_error([&] { queue.wait(); });
  };

  EXPECT_THAT(error(1, 0, 1), HasSubstr("names source 1 of 1"));
  EXPECT_THAT(error(0, 3, 1), HasSubstr("names row 3 of 3"));
  EXPECT_THAT(error(0, -1, 1), HasSubstr("names row -1 of 3"));
  EXPECT_THAT(error(0, 0, 0), HasSubstr("group 0 after 1, wanted ascending"));
}

// Law 1: neither the instruction set, nor threads, nor the other tokens show.
TEST(Permute, RowOperatorsGiveTheSameBitsInAnyArrangement) {
  const int64_t T = 700, D = 1043;
  const Combine c(T, 3, D);
  const Buffer x = normal({T, D}, 21), other = normal({T, D}, 22), scale = normal({T}, 23);

  const auto all = expect_same_bits_everywhere([&](Queue& queue) {
    const Buffer y = allocate_f32({4 * T + 1, D});
    const Tensor dots = reshape(columns(row_range(y.view, 4 * T, 1), 0, T), {T});
    std::memset(y.view.data, 0, static_cast<size_t>(y.view.count()) * sizeof(float));
    combine_rows(queue, c.args(row_range(y.view, 0, T)));
    scale_rows(queue, {.x = x, .scale = scale, .y = row_range(y.view, T, T)});
    add(queue, {.a = x, .b = other, .y = row_range(y.view, 2 * T, T)});
    copy(queue, {.x = x, .y = row_range(y.view, 3 * T, T)});
    dot_rows(queue, {.a = x, .b = other, .y = dots});
    queue.wait();
    return to_vector(y);
  });

  ThreadPool pool(1);
  Queue queue(pool);
  for (const int64_t t : {int64_t{0}, int64_t{333}, T - 1}) {
    const Buffer y = allocate_f32({1, D}), one = allocate_f32({1});
    CombineRowsArgs args = c.args(y);
    for (ConstTensor* index : {&args.source, &args.row, &args.group, &args.weight}) {
      *index = row_range(*index, t, 1);
    }
    combine_rows(queue, args);
    dot_rows(queue, {.a = row_range(x.view, t, 1), .b = row_range(other.view, t, 1), .y = one});
    queue.wait();
    EXPECT_TRUE(same_bits(to_vector(y), {all.begin() + t * D, all.begin() + (t + 1) * D}));
    EXPECT_TRUE(same_bits(to_vector(one), {all[static_cast<size_t>(4 * T * D + t)]}));
  }
}

TEST(Permute, ScalesAddsCopiesAndMultipliesSlicesOfColumns) {
  ThreadPool pool(2);
  Queue queue(pool);
  const int64_t T = 3, D = 21;
  const Buffer wide = normal({T, 2 * D}, 31), scale = normal({T}, 32), out = normal({T, 50}, 33);
  const ConstTensor a = columns(ConstTensor(wide), 0, D), b = columns(ConstTensor(wide), D, D);
  const auto before = to_vector(out);
  const auto as = to_doubles(a), bs = to_doubles(b);
  const auto check = [&](const char* what, auto expected) {
    queue.wait();
    const auto found = to_vector(out);
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < 50; ++i) {
        const size_t at = static_cast<size_t>(t * 50 + i);
        if (i < 5 || i >= 5 + D) {
          EXPECT_EQ(found[at], before[at]) << what << " wrote beside its columns";
        } else {
          const size_t from = static_cast<size_t>(t * D + i - 5);
          EXPECT_EQ(found[at], static_cast<float>(expected(from, static_cast<size_t>(t)))) << what;
        }
      }
    }
  };
  const Tensor y = columns(out.view, 5, D);
  const auto scales = to_doubles(scale);

  scale_rows(queue, {.x = a, .scale = scale, .y = y});
  check("scale_rows", [&](size_t i, size_t t) { return scales[t] * as[i]; });
  add(queue, {.a = a, .b = b, .y = y});
  check("add", [&](size_t i, size_t) { return as[i] + bs[i]; });
  add(queue, {.a = a, .b = b, .onto = b, .y = y});
  check("add onto", [&](size_t i, size_t) { return bs[i] + static_cast<float>(as[i] + bs[i]); });
  copy(queue, {.x = b, .y = y});
  check("copy", [&](size_t i, size_t) { return bs[i]; });

  const Buffer dots = allocate_f32({T});
  dot_rows(queue, {.a = a, .b = b, .y = dots});
  queue.wait();
  for (size_t t = 0; t < 3; ++t) {
    double sum = 0, size = 0;
    for (size_t i = t * 21; i < (t + 1) * 21; ++i) {
      sum += as[i] * bs[i];
      size += std::fabs(as[i] * bs[i]);
    }
    EXPECT_NEAR(to_vector(dots)[t], sum, 2e-7 * size);
  }
}

TEST(Permute, OutputMayBeTheInput) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer a = normal({4, 19}, 41), b = normal({4, 19}, 42), scale = normal({4}, 43);
  const Buffer sum = allocate_f32({4, 19}), scaled = allocate_f32({4, 19});
  add(queue, {.a = a, .b = b, .y = sum});
  scale_rows(queue, {.x = sum, .scale = scale, .y = scaled});

  add(queue, {.a = a, .b = b, .y = b});
  scale_rows(queue, {.x = b, .scale = scale, .y = b});
  queue.wait();

  EXPECT_TRUE(same_bits(to_vector(b), to_vector(scaled)));
}

TEST(Permute, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer a = normal({4, 8}, 51), b = normal({4, 7}, 52), v = normal({3}, 53);
  const Buffer index = integers({0, 1}, {2}), long_index = allocate(DType::i64, {2});

  EXPECT_THAT(kernel_error([&] { add(queue, {.a = a, .b = b, .y = a}); }),
              HasSubstr("add b is [4, 7] f32, wanted [4, 8] f32"));
  EXPECT_THAT(kernel_error([&] { copy(queue, {.x = a, .y = b}); }), HasSubstr("copy y is [4, 7]"));
  EXPECT_THAT(kernel_error([&] { scale_rows(queue, {.x = a, .scale = v, .y = a}); }),
              HasSubstr("scale_rows scale is [3] f32, wanted [4] f32"));
  EXPECT_THAT(kernel_error([&] { dot_rows(queue, {.a = a, .b = a, .y = v}); }),
              HasSubstr("dot_rows y is [3] f32, wanted [4] f32"));
  EXPECT_THAT(kernel_error([&] { gather_rows(queue, {.x = a, .index = index, .y = a}); }),
              HasSubstr("gather_rows index is [2] i32, wanted [4] i32"));
  EXPECT_THAT(kernel_error([&] {
                gather_rows(queue, {.x = a, .index = long_index, .y = row_range(a.view, 0, 2)});
              }),
              HasSubstr("gather_rows index is [2] i64, wanted [2] i32"));
  EXPECT_THAT(kernel_error([&] {
                combine_rows(queue, {.rows = {a, b},
                                     .source = index,
                                     .row = index,
                                     .group = index,
                                     .weight = {},
                                     .y = row_range(a.view, 0, 1)});
              }),
              HasSubstr("combine_rows rows is [4, 7] f32, wanted [4, 8] f32"));
}

}  // namespace
}  // namespace troupe::tests
