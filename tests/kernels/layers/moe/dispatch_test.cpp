#include "kernels/layers/moe/dispatch.h"

#include <gtest/gtest.h>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;

std::vector<float> floats_of(const ConstTensor& t) {
  std::vector<float> out;
  for (int64_t r = 0; r < t.rows(); ++r) {
    const float* row = values<float>(t) + r * t.row_stride;
    out.insert(out.end(), row, row + t.cols());
  }
  return out;
}

int64_t bytes_of(const Tensor& t) { return t.count() * size_of(t.dtype); }

// Law 2: experts of another process read the same numbers as those of this one.
TEST(Dispatch, PackedRowsAreTheRoundedOnes) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const auto what : {Dispatched::activations, Dispatched::gradients}) {
    for (const auto precision : {Precision::bf16, Precision::fp8}) {
      Scratch scratch;
      const Buffer x = normal({9, 200}, 5, what == Dispatched::gradients ? 1e-9f : 1.0f);
      const ConstTensor rounded = round_dispatched(queue, scratch, precision, what, x);
      const auto packed = pack_dispatched(queue, scratch, precision, what, x);
      ASSERT_EQ(packed.size(), tensors_of_dispatched(precision));
      const Tensor back = unpack_dispatched(queue, scratch, precision, {packed.begin(), packed.end()});
      const ConstTensor again = round_dispatched(queue, scratch, precision, what, back);
      queue.wait();
      EXPECT_NE(floats_of(rounded), to_vector(x));
      EXPECT_EQ(floats_of(back), floats_of(rounded));
      EXPECT_EQ(floats_of(again), floats_of(rounded)) << "what has been rounded stays";
    }
  }
}

TEST(Dispatch, Fp32TravelsAsItIs) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  const Buffer x = normal({3, 8}, 5);
  EXPECT_EQ(round_dispatched(queue, scratch, Precision::fp32, Dispatched::activations, x).data,
            x.view.data);
  EXPECT_EQ(pack_dispatched(queue, scratch, Precision::fp32, Dispatched::gradients, x)[0].data,
            x.view.data);
  EXPECT_EQ(pack_sums(queue, scratch, Precision::fp32, x).data, x.view.data);
}

// DeepSeek-V3: 7,168 bytes and 56 scales a token in FP8, against 14,336 in BF16.
TEST(Dispatch, ATokenOfDeepSeekV3TakesItsBytes) {
  ThreadPool pool(1);
  Queue queue(pool);
  Scratch scratch;
  const Buffer x = normal({1, 7168}, 5);
  const auto fp8 = pack_dispatched(queue, scratch, Precision::fp8, Dispatched::activations, x);
  EXPECT_EQ(bytes_of(fp8[0]) + bytes_of(fp8[1]), 7168 + 4 * 56);
  const auto bf16 = pack_dispatched(queue, scratch, Precision::bf16, Dispatched::activations, x);
  EXPECT_EQ(bytes_of(bf16[0]), 14'336);
  queue.wait();
}

}  // namespace
}  // namespace troupe::tests
