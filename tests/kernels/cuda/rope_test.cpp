#include "kernels/ops/rope.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using RopeCudaTest = GpuTest;

TEST_F(RopeCudaTest, GivesTheCpusBitsBothWays) {
  constexpr int64_t T = 23, H = 3, R = 34, P = 50;
  const RopeTable table = rope_table(P, R, 10000.0, std::nullopt);
  const Buffer x = normal({T * H, R}, 1), at = integers(random_integers(T, P, 2), {T});

  expect_twins([&](Side& side) {
    const Tensor on = side.in(x), y = side.out({T * H, R}), positions = side.plain(at);
    const Tensor cosines = side.in(table.cosines), sines = side.in(table.sines);
    for (const bool inverse : {false, true}) {
      rope(side.queue, {.x = on,
                        .heads = H,
                        .positions = positions,
                        .cosines = cosines,
                        .sines = sines,
                        .inverse = inverse,
                        .y = inverse ? on : y});
    }
    return side.bytes({y, on});
  });
}

TEST_F(RopeCudaTest, APositionOutsideTheTableIsAnError) {
  ThreadPool pool(1);
  Side side(pool, Device::cuda);
  const RopeTable table = rope_table(4, 8, 10000.0, std::nullopt);
  rope(side.queue, {.x = side.in(normal({2, 8}, 1)),
                    .heads = 1,
                    .positions = side.plain(integers({1, 4}, {2})),
                    .cosines = side.in(table.cosines),
                    .sines = side.in(table.sines),
                    .inverse = false,
                    .y = side.out({2, 8})});

  EXPECT_EQ(kernel_error([&] { side.queue.wait(); }), "rope position 4 at row 1, wanted 0 to 3");
}

}  // namespace
}  // namespace troupe::tests
