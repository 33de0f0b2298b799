#include "kernels/ops/optimizer.h"

#include "kernels/ops/permute.h"
#include "kernels/ops/quantize.h"
#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using OptimizerCudaTest = GpuTest;

Buffer sums(int64_t n) {
  Buffer gradient = allocate(DType::i64, {n});
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t bits = random_bits({7, Purpose::test, 1, static_cast<uint64_t>(i)});
    values<int64_t>(gradient.view)[i] = static_cast<int64_t>(bits) >> (i % 40);
  }
  return gradient;
}

// A host's buddy may update what a GPU has: both must give the same bits.
TEST_F(OptimizerCudaTest, GivesTheCpusBitsWithMomentsOfEveryFormat) {
  for (const int64_t n : {int64_t{1}, int64_t{1000}, int64_t{65'536}}) {
    const Buffer gradient = sums(n), weight = normal({n}, 2), ema = normal({n}, 3);
    for (const DType moments : {DType::f32, DType::bf16}) {
      expect_twins([&](Side& side) {
        const Tensor g = side.plain(gradient), w = side.plain(weight), e = side.plain(ema);
        const Tensor m = side.out(moments, {n}), v = side.out(moments, {n});
        const Tensor new_m = side.out(moments, {n}), new_v = side.out(moments, {n});
        const Tensor new_w = side.out({n}), new_e = side.out({n});
        const AdamWStep step{.learning_rate = 1e-3f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .clip = 0.7f,
                             .correction1 = bias_correction(0.9f, 5),
                             .correction2 = bias_correction(0.95f, 5)};
        set_zero(side.queue, {.y = m});
        set_zero(side.queue, {.y = v});
        adamw(side.queue, {.step = step,
                           .weight_decay = 0.1f,
                           .gradient = g,
                           .scale_bits = 50,
                           .weight = w,
                           .moment1 = m,
                           .moment2 = v,
                           .new_weight = new_w,
                           .new_moment1 = new_m,
                           .new_moment2 = new_v});
        adamw(side.queue, {.step = step,
                           .weight_decay = 0.0f,
                           .gradient = g,
                           .scale_bits = 50,
                           .weight = new_w,
                           .moment1 = new_m,
                           .moment2 = new_v,
                           .new_weight = w,
                           .new_moment1 = m,
                           .new_moment2 = v});
        update_ema(side.queue, {.rate = 0.001f, .weight = w, .ema = e, .new_ema = new_e});
        return side.bytes({new_w, new_m, new_v, w, m, v, new_e});
      });
    }
  }
}

TEST_F(OptimizerCudaTest, NormsGiveTheCpusBits) {
  for (const int64_t n : {int64_t{1}, int64_t{13}, int64_t{65'536}}) {
    const Buffer gradient = sums(n), result = allocate(Device::shared, DType::i64, {1});
    expect_twins([&](Side& side) {
      squared_norm(side.queue, {.gradient = side.plain(gradient),
                                .scale_bits = 50,
                                .sum = static_cast<double*>(result.view.data)});
      return side.bytes({result});
    });
  }
}

TEST_F(OptimizerCudaTest, NormsOfManyBlocksGiveTheCpusBits) {
  const std::vector<int64_t> counts{1, 7, 0, 8, 65'536, 129, 1000, 2001, 12};
  constexpr int64_t block = 1000;
  int64_t n = 0;
  for (const int64_t count : counts) n += (count + block - 1) / block;
  const Buffer result = allocate(Device::shared, DType::i64, {n});
  expect_twins([&](Side& side) {
    SquaredNormsArgs args{.gradients = {}, .block = block, .scale_bits = 50,
                          .sums = static_cast<double*>(result.view.data)};
    for (const int64_t count : counts) args.gradients.push_back(side.plain(sums(count)));
    squared_norms(side.queue, args);
    return side.bytes({result});
  });
}

// In the one pass that makes them, and by way of the weights.
TEST_F(OptimizerCudaTest, WritesTheNewWeightsInBf16Too) {
  ThreadPool pool(2);
  Side side(pool, Device::cuda);
  const int64_t n = 1003;
  const Tensor w = side.plain(normal({n}, 2)), m = side.out({n}), v = side.out({n});
  const Tensor narrow = side.out(DType::bf16, {n});
  set_zero(side.queue, {.y = m});
  set_zero(side.queue, {.y = v});
  const AdamWStep step{.learning_rate = 1e-3f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                       .clip = 1.0f, .correction1 = 0.1f, .correction2 = 0.05f};

  adamw(side.queue, {.step = step, .weight_decay = 0.1f, .gradient = side.plain(sums(n)),
                     .scale_bits = 50, .weight = w, .moment1 = m, .moment2 = v, .new_weight = w,
                     .new_moment1 = m, .new_moment2 = v, .new_bf16 = narrow});
  side.queue.wait();

  const Buffer wide = on_host(w), found = on_host(narrow);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(values<uint16_t>(found.view)[i], f32_to_bf16(values<float>(wide.view)[i])) << i;
  }
}

}  // namespace
}  // namespace troupe::tests
