#include "kernels/ops/sort_rows.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using SortRowsCudaTest = GpuTest;

TEST_F(SortRowsCudaTest, GivesTheCpusTables) {
  struct Case {
    int64_t T, E, K, groups;
    std::vector<int32_t> owner;
  };
  std::vector<int32_t> spread(256);
  for (size_t e = 0; e < spread.size(); ++e) spread[e] = static_cast<int32_t>(e * 7 % 5);
  for (const Case& c : {Case{0, 2, 2, 1, {0, 1}}, {5, 4, 2, 4, {2, 0, 2, 0}},
                        {1000, 8, 3, 2, std::vector<int32_t>(8, 0)},
                        {4097, 64, 8, 8, std::vector<int32_t>(64, 0)}, {700, 256, 8, 8, spread}}) {
    std::vector<int32_t> ids;
    const std::vector<int32_t> drawn = random_integers(c.T, c.E, 3);
    for (int64_t t = 0; t < c.T; ++t) {  // some experts get most rows, others none
      const int64_t step = t % 3 == 0 ? 1 : (c.E - 1) / c.K;
      for (int64_t k = 0; k < c.K; ++k) {
        ids.push_back(static_cast<int32_t>((drawn[static_cast<size_t>(t)] / 2 + k * std::max<int64_t>(1, step)) % c.E));
      }
    }
    const Buffer choice = integers(ids, {c.T, c.K});
    expect_twins([&](Side& side) {
      const Tensor source = side.out(DType::i32, {c.T, c.K}), row = side.out(DType::i32, {c.T, c.K}),
                   group = side.out(DType::i32, {c.T, c.K});
      const Tensor index = side.out(DType::i32, {c.T * c.K}), slot = side.out(DType::i32, {c.T * c.K}),
                   counts = side.out(DType::i32, {c.E});
      sort_rows(side.queue, {.expert_ids = side.plain(choice), .owner = c.owner, .groups = c.groups,
                             .source = source, .row = row, .group = group, .index = index, .slot = slot,
                             .counts = counts});
      return side.bytes({source, row, group, index, slot, counts});
    });
  }
}

TEST_F(SortRowsCudaTest, AnExpertThatIsNotThereIsAnError) {
  ThreadPool pool(1);
  Side side(pool, Device::cuda);
  const Tensor table = side.out(DType::i32, {2, 1});
  const Tensor rows = side.out(DType::i32, {2});
  sort_rows(side.queue, {.expert_ids = side.plain(integers({0, 2}, {2, 1})), .owner = {0, 0}, .groups = 1,
                         .source = table, .row = table, .group = table, .index = rows, .slot = rows,
                         .counts = side.out(DType::i32, {2})});
  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }), "sort_rows expert id 2 at row 1, wanted 0 to 1");
}

}  // namespace
}  // namespace troupe::tests
