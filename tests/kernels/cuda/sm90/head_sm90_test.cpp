#include "kernels/cuda/sm90/head_sm90.h"

#include <gmock/gmock.h>

#include <array>
#include <bit>

#include "kernels/cuda/gemm/products_bf16.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/permute.h"
#include "tests/kernels/cuda/rows_in_bf16.h"

namespace troupe::tests {
namespace {

using namespace kernels;

class HeadSm90 : public Sm90Test {
 protected:
  struct Losses {
    std::vector<float> losses, log_sums, dlogits;
  };
  Losses run(const Buffer& logits, const Buffer& targets, float scale) {
    const int64_t T = logits.view.rows(), V = logits.view.cols();
    const Tensor on = on_gpu(logits, DType::f32), ids = on_gpu(targets, DType::i32);
    const Tensor losses = scratch.f32({T}), log_sums = scratch.f32({T});
    const Tensor dlogits = cuda::bf16_place(scratch, T, V);
    cross_entropy(*queue, {.logits = on, .targets = ids, .losses = losses, .log_sums = log_sums});
    cuda::logit_gradients(
        *queue,
        {.logits = on, .targets = ids, .log_sums = log_sums, .scale = scale, .dlogits = dlogits});
    Losses out{numbers(losses), numbers(log_sums), {}};
    const Tensor flat = scratch.of(DType::bf16, {T, V});
    kernels::copy(*queue, {.x = dlogits, .y = flat});
    out.dlogits = numbers(flat);
    return out;
  }

  std::vector<uint32_t> bits_of(const Tensor& t) {
    std::vector<uint32_t> out;
    for (const float x : numbers(t)) out.push_back(std::bit_cast<uint32_t>(x));
    return out;
  }
  std::vector<int64_t> sums(const Tensor& sum) {
    queue->wait();
    const Buffer host = on_host(sum);
    const int64_t* v = values<int64_t>(host.view);
    return {v, v + sum.count()};
  }
};

TEST_F(HeadSm90, LossesAndGradientsAreTheFormulas) {
  for (const auto& [T, V] : {std::array<int64_t, 2>{1, 1}, {5, 23}, {37, 4104}, {9, 9000}}) {
    const Buffer logits = normal({T, V}, 1, 4.0f);
    std::vector<int32_t> ids = random_integers(T, static_cast<int32_t>(V), 2);
    if (T > 1) ids[1] = -1;
    const Buffer targets = integers(ids, {T});

    const Losses found = run(logits, targets, 0.25f);

    for (int64_t t = 0; t < T; ++t) {
      const float* row = values<float>(logits.view) + t * V;
      double sum = 0;
      for (int64_t i = 0; i < V; ++i) sum += std::exp(double{row[i]});
      const double log_sum = std::log(sum);
      const int32_t target = ids[static_cast<size_t>(t)];
      ASSERT_NEAR(found.log_sums[static_cast<size_t>(t)], log_sum, 1e-5) << t;
      ASSERT_NEAR(found.losses[static_cast<size_t>(t)],
                  target < 0 ? 0.0 : log_sum - double{row[target]}, 1e-5);
      for (int64_t i = 0; i < V; ++i) {
        const double share = std::exp(double{row[i]} - log_sum) - (i == target ? 1.0 : 0.0);
        const double wanted = target < 0 ? 0.0 : 0.25 * share;
        ASSERT_NEAR(found.dlogits[static_cast<size_t>(t * V + i)], wanted,
                    std::fabs(wanted) * 0.005 + 1e-9);
      }
    }
  }
}

// A row that a cluster of 2, 4 or 8 blocks keeps, more of them than clusters run at once; and one that is read twice,
// for its place in memory or its length.
TEST_F(HeadSm90, GivesARowItsLossHoweverItIsRead) {
  for (const auto& [T, V] : {std::array<int64_t, 2>{7, 8}, {1000, 4096}, {7, 5000}, {700, 32768}, {500, 40968},
                             {7, 65536}, {260, 129280}, {7, 147464}}) {
    const Buffer logits = normal({T, V}, 1, 5.0f);
    float* const x = values<float>(logits.view);
    x[0] = 300.0f;  // all others are nothing beside it
    x[V + V / 2] = -std::numeric_limits<float>::infinity();
    x[2 * V + V - 1] = std::numeric_limits<float>::quiet_NaN();
    std::fill_n(x + 3 * V, V, -std::numeric_limits<float>::infinity());
    x[3 * V + 1] = -90.0f;
    const Tensor in_eights = on_gpu(logits, DType::f32), apart = scratch.f32({T, V + 4});
    const Tensor beside = columns(apart, 4, V);
    copy(*queue, {.x = in_eights, .y = beside});
    const Tensor targets = on_gpu(integers(random_integers(T, static_cast<int32_t>(V), 2), {T}), DType::i32);
    const auto losses_of = [&](const Tensor& rows) {
      const Tensor losses = scratch.f32({T}), log_sums = scratch.f32({T});
      cross_entropy(*queue, {.logits = rows, .targets = targets, .losses = losses, .log_sums = log_sums});
      return std::pair(bits_of(losses), bits_of(log_sums));
    };

    EXPECT_TRUE(losses_of(in_eights) == losses_of(beside)) << T << " x " << V;
  }
}

// Law 1.
TEST_F(HeadSm90, GivesARowItsLossWhateverTheNumberOfRows) {
  const Buffer logits = normal({64, 5000}, 1, 3.0f);
  const Buffer targets = integers(random_integers(64, 5000, 2), {64});
  const Losses all = run(logits, targets, 1.0f);

  Buffer some = logits, few = targets;
  some.view = row_range(logits.view, 0, 3);
  few.view.shape[0] = few.view.row_stride = 3;
  const Losses found = run(some, few, 1.0f);

  ASSERT_TRUE(std::equal(found.losses.begin(), found.losses.end(), all.losses.begin()));
  ASSERT_TRUE(std::equal(found.dlogits.begin(), found.dlogits.end(), all.dlogits.begin()));
}

TEST_F(HeadSm90, ATargetOutsideTheVocabularyIsAnError) {
  run(normal({2, 8}, 1), integers({3, 7}, {2}), 1.0f);
  try {
    run(normal({2, 8}, 1), integers({3, 8}, {2}), 1.0f);
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(),
                testing::HasSubstr("cross_entropy target 8 at row 1, wanted -1 to 7"));
  }
}

// The unit that embed_backward_weights makes and accumulate_unit adds.
TEST_F(HeadSm90, AddsTheEmbeddingsUnitWithoutMakingIt) {
  const int64_t T = 200, D = 300, V = 40;
  const Buffer dy = normal({T, D}, 1);
  const Buffer host_ids = integers(random_integers(T, V / 2, 2), {T});  // some do not occur
  const Tensor ids = scratch.i32({T});
  std::copy_n(values<int32_t>(host_ids.view), T, values<int32_t>(ids));
  const Tensor on = on_gpu(dy, DType::f32), unit = scratch.f32({V, D});
  const Tensor faults = scratch.shared(DType::i32, {1});
  *values<int32_t>(faults) = 0;
  GradientSum wanted, found;
  for (GradientSum* sum : {&wanted, &found}) {
    sum->sum = scratch.of(DType::i64, {V, D});
    sum->scale_bits = 50;
    sum->faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
    sum->is_first = true;
  }
  embed_backward_weights(*queue, {.ids = ids, .dy = on, .dweight = unit});
  add_unit(*queue, wanted, unit);

  cuda::add_embedding_unit(*queue, ids, on, found);

  EXPECT_EQ(sums(found.sum), sums(wanted.sum));
}

TEST_F(HeadSm90, PartsAreAddedInOrder) {
  const Buffer parts = normal({7, 50}, 1);
  const Tensor sum = scratch.f32({50});

  cuda::add_parts(*queue, on_gpu(parts, DType::f32), sum);

  const std::vector<float> found = numbers(sum);
  for (int64_t i = 0; i < 50; ++i) {
    float wanted = 0;
    for (int64_t p = 0; p < 7; ++p) wanted += values<float>(parts.view)[p * 50 + i];
    ASSERT_EQ(found[static_cast<size_t>(i)], wanted);
  }
}

}  // namespace
}  // namespace troupe::tests
