#include "kernels/ops/permute.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using PermuteCudaTest = GpuTest;

TEST_F(PermuteCudaTest, RowsAreGatheredScaledAddedAndCopiedAsOnTheCpu) {
  constexpr int64_t T = 50, R = 77, D = 41;
  const Buffer x = normal({T, D}, 1), y = normal({R, D}, 2), scale = normal({R}, 3);
  const Buffer index = integers(random_integers(R, T, 4), {R});

  expect_twins([&](Side& side) {
    const Tensor rows = side.out({R, D}), scaled = side.out({R, D}), sums = side.out({R, D});
    const Tensor dots = side.out({R}), copied = side.out({R, D + 3}), on = side.in(y);
    gather_rows(side.queue, {.x = side.in(x), .index = side.plain(index), .y = rows});
    scale_rows(side.queue, {.x = rows, .scale = side.plain(scale), .y = scaled});
    dot_rows(side.queue, {.a = rows, .b = on, .y = dots});
    add(side.queue, {.a = scaled, .b = on, .y = sums});
    add(side.queue, {.a = scaled, .b = on, .onto = rows, .y = rows});
    copy(side.queue, {.x = on, .y = columns(copied, 2, D)});
    copy(side.queue, {.x = row_range(on, 5, 1), .y = columns(row_range(copied, 70, 1), 2, D)});
    set_zero(side.queue, {.y = columns(row_range(copied, 3, 9), 4, 5)});
    return side.bytes({rows, scaled, dots, sums, copied});
  });
}

// As the state has them.
TEST_F(PermuteCudaTest, AVectorIsCopiedAsOnTheCpu) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i64}) {
    const Buffer from = allocate_zeros(dtype, {1'000'001});
    for (int64_t i = 0; i < 1'000'001; ++i) {
      static_cast<char*>(from.view.data)[i] = static_cast<char>(i * 31);
    }
    expect_twins([&](Side& side) {
      const Tensor to = side.plain(allocate_zeros(dtype, {1'000'001}));
      copy(side.queue, {.x = side.plain(from), .y = to});
      return side.bytes({to});
    });
  }
}

// Rows that are read in whole eights.
TEST_F(PermuteCudaTest, AlignedRowsAreGatheredScaledAddedCopiedAndCombinedAsOnTheCpu) {
  constexpr int64_t T = 50, R = 77, D = 264, K = 2;
  const Buffer x = normal({T, D}, 1), y = normal({R, D}, 2), scale = normal({R}, 3);
  const Buffer index = integers(random_integers(R, T, 4), {R});
  const Buffer zeros = integers(std::vector<int32_t>(T * K, 0), {T, K});
  const Buffer row = integers(random_integers(T * K, R, 5), {T, K});

  expect_twins([&](Side& side) {
    const Tensor rows = side.out({R, D}), scaled = side.out({R, D}), sums = side.out({R, D});
    const Tensor copied = side.out({R, D}), combined = side.out({T, D}), on = side.plain(y);
    gather_rows(side.queue, {.x = side.plain(x), .index = side.plain(index), .y = rows});
    scale_rows(side.queue, {.x = rows, .scale = side.plain(scale), .y = scaled});
    add(side.queue, {.a = scaled, .b = on, .y = sums});
    add(side.queue, {.a = scaled, .b = on, .onto = rows, .y = rows});
    copy(side.queue, {.x = sums, .y = copied});
    combine_rows(side.queue, {.rows = {copied}, .source = side.plain(zeros),
                              .row = side.plain(row), .group = side.plain(zeros), .weight = {},
                              .y = combined});
    return side.bytes({rows, scaled, sums, copied, combined});
  });
}

TEST_F(PermuteCudaTest, CombinesAsTheCpuWithEmptyPlacesAndSumsOfGroups) {
  constexpr int64_t T = 40, K = 6, R = 90;
  for (const int64_t D : {1, 8, 35}) {  // in threads, and in blocks
    const Buffer first = normal({R, D}, 5), second = normal({R, D}, 6), weight = normal({T, K}, 7);
    std::vector<int32_t> source = random_integers(T * K, 3, 8), group = random_integers(T * K, 4, 9);
    for (int32_t& s : source) s -= 1;
    for (int64_t t = 0; t < T; ++t) std::sort(group.begin() + t * K, group.begin() + (t + 1) * K);
    const Buffer sources = integers(source, {T, K}), groups = integers(group, {T, K});
    const Buffer rows = integers(random_integers(T * K, R, 10), {T, K});

    for (const bool weighs : {false, true}) {
      for (const bool rounds : {false, true}) {
        expect_twins([&](Side& side) {
          const Tensor y = side.out({T, D});
          combine_rows(side.queue, {.rows = {side.in(first), side.in(second)},
                                    .source = side.plain(sources),
                                    .row = side.plain(rows),
                                    .group = side.plain(groups),
                                    .weight = weighs ? ConstTensor(side.in(weight)) : ConstTensor{},
                                    .y = y,
                                    .rounds_groups = rounds,
                                    .are_sums = {false, true}});
          return side.bytes({y});
        });
      }
    }
  }
}

TEST_F(PermuteCudaTest, ATableThatLeadsOutsideIsAnError) {
  ThreadPool pool(1);
  Side side(pool, Device::cuda);
  const Tensor x = side.in(normal({3, 4}, 1)), zero = side.plain(integers({0}, {1, 1}));

  gather_rows(side.queue,
              {.x = x, .index = side.plain(integers({0, 3}, {2})), .y = side.out({2, 4})});
  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }),
            "gather_rows index 3 at row 1, wanted 0 to 2");

  combine_rows(side.queue, {.rows = {x},
                            .source = side.plain(integers({1}, {1, 1})),
                            .row = zero,
                            .group = zero,
                            .weight = {},
                            .y = side.out({1, 4})});
  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }),
            "combine_rows source 1 at row 0, wanted -1 to 0");
  combine_rows(side.queue, {.rows = {side.in(normal({3, 16}, 1))},
                            .source = zero,
                            .row = side.plain(integers({3}, {1, 1})),
                            .group = zero,
                            .weight = {},
                            .y = side.out({1, 16})});
  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }),
            "combine_rows row 3 at row 0, wanted 0 to 2");
}

}  // namespace
}  // namespace troupe::tests
