#include "kernels/ops/embedding.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using EmbeddingCudaTest = GpuTest;

// Few ids that come again and again; many, of which most never come; one that is all.
TEST_F(EmbeddingCudaTest, GivesTheCpusBitsForwardAndBackward) {
  for (const auto& [T, V, D] :
       {std::array<int64_t, 3>{1000, 7, 33}, {700, 5000, 300}, {600, 1, 5}, {0, 4, 4}}) {
    const Buffer ids = integers(random_integers(T, static_cast<uint64_t>(V), 1), {T});
    const Buffer weight = normal({V, D}, 2), dy = normal({T, D}, 3);
    expect_twins([&](Side& side) {
      const Tensor on = side.plain(ids), y = side.out({T, D}), dweight = side.out({V, D});
      embed(side.queue, {.ids = on, .weight = side.in(weight), .y = y});
      embed_backward_weights(side.queue, {.ids = on, .dy = side.in(dy), .dweight = dweight});
      return side.bytes({y, dweight});
    });
  }
}

}  // namespace
}  // namespace troupe::tests
