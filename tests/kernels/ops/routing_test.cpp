#include "kernels/ops/routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/routing.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::ElementsAre;
using testing::HasSubstr;

/// Outputs of one call.
struct Routed {
  Buffer scores, ids, weights;
};

Routed route(Queue& queue, const ConstTensor& logits, const ConstTensor& bias,
             const reference::Routing& r) {
  const int64_t T = logits.rows(), K = static_cast<int64_t>(r.per_token);
  Routed out{allocate_f32({T, logits.cols()}), allocate(DType::i32, {T, K}), allocate_f32({T, K})};
  route_tokens(queue, {.logits = logits,
                       .bias = bias,
                       .n_groups = static_cast<int>(r.groups),
                       .top_groups = static_cast<int>(r.top_groups),
                       .normalize = r.normalize,
                       .scale = static_cast<float>(r.scale),
                       .scores = out.scores,
                       .expert_ids = out.ids,
                       .weights = out.weights});
  queue.wait();
  return out;
}

/// Logits whose sigmoids are the given scores.
Buffer logits_of(const std::vector<float>& scores, std::initializer_list<int64_t> shape) {
  std::vector<float> logits;
  for (const float s : scores) logits.push_back(std::log(s / (1 - s)));
  return floats(logits, shape);
}

Doubles row(const Buffer& b, size_t t) {
  return to_doubles(row_range(ConstTensor(b), static_cast<int64_t>(t), 1));
}

const std::vector<reference::Routing> recipes{{256, 8, 4, 8, true, 2.5},  {64, 1, 1, 6, false, 1.0},
                                              {16, 4, 2, 4, true, 2.5},   {8, 8, 3, 3, true, 1.0},
                                              {12, 3, 3, 12, false, 0.5}, {1, 1, 1, 1, true, 2.5}};

TEST(Routing, ChoosesAndWeighsAsTheReference) {
  ThreadPool pool(2);
  Queue queue(pool);
  for (const reference::Routing& r : recipes) {
    const int64_t T = 50, E = static_cast<int64_t>(r.experts);
    const Buffer logits = normal({T, E}, 1, 2.0f), bias = normal({E}, 2, 0.1f);

    const Routed found = route(queue, logits, bias, r);

    const auto ids = vector_of<int32_t>(found.ids.view);
    for (size_t t = 0; t < 50; ++t) {
      const Doubles scores = row(found.scores, t);
      for (size_t e = 0; e < r.experts; ++e) {
        EXPECT_NEAR(scores[e], reference::sigmoid(row(logits, t)[e]), 2e-7);
      }
      const std::vector<int32_t> chosen(ids.begin() + static_cast<long>(t * r.per_token),
                                        ids.begin() + static_cast<long>((t + 1) * r.per_token));
      EXPECT_EQ(chosen, reference::choose_experts(scores, to_doubles(bias), r));
      EXPECT_LT(
          relative_difference(row(found.weights, t), reference::expert_weights(scores, chosen, r)),
          5e-7);
    }
  }
}

TEST(Routing, BiasChangesTheChoiceButNotTheWeight) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = logits_of({0.9f, 0.5f, 0.3f, 0.2f}, {1, 4});
  const Buffer bias = floats({-0.8f, 0.0f, 0.0f, 0.0f}, {4});  // expert 0 is overloaded

  const Routed found = route(queue, logits, bias, {4, 1, 1, 2, true, 1.0});

  EXPECT_THAT(vector_of<int32_t>(found.ids.view), ElementsAre(1, 2));
  EXPECT_THAT(to_vector(found.weights),
              ElementsAre(testing::FloatNear(0.625f, 1e-6f), testing::FloatNear(0.375f, 1e-6f)));
}

TEST(Routing, AGroupCountsByItsTwoBestScores) {
  ThreadPool pool(1);
  Queue queue(pool);
  // Group 0 holds the single best expert, group 1 the better pair.
  const Buffer logits = logits_of({0.9f, 0.1f, 0.1f, 0.6f, 0.5f, 0.1f}, {1, 6});
  const Buffer bias = floats({0, 0, 0, 0, 0, 0}, {6});

  const Routed found = route(queue, logits, bias, {6, 2, 1, 2, true, 1.0});

  EXPECT_THAT(vector_of<int32_t>(found.ids.view), ElementsAre(3, 4));
}

TEST(Routing, AKeptGroupIsChosenFromEvenBelowZero) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = logits_of({0.9f, 0.5f, 0.5f, 0.5f}, {1, 4});
  const Buffer bias = floats({0.0f, -2.0f, -0.9f, -0.9f}, {4});

  const Routed found = route(queue, logits, bias, {4, 2, 1, 2, true, 1.0});

  // Groups score -0.6 and -0.8: expert 1 of group 0 is taken at -1.5, not 2 or 3 at -0.4.
  EXPECT_THAT(vector_of<int32_t>(found.ids.view), ElementsAre(0, 1));
}

TEST(Routing, TiesGoToTheLowerIdOfGroupAndExpert) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = allocate_zeros(DType::f32, {1, 12}),
               bias = allocate_zeros(DType::f32, {12});

  EXPECT_THAT(vector_of<int32_t>(route(queue, logits, bias, {12, 4, 2, 4, true, 1.0}).ids.view),
              ElementsAre(0, 1, 2, 3));
  values<float>(bias.view)[10] = 0.25f;
  EXPECT_THAT(vector_of<int32_t>(route(queue, logits, bias, {12, 4, 2, 4, true, 1.0}).ids.view),
              ElementsAre(0, 1, 2, 10));
}

TEST(Routing, NotANumberRanksBelowEveryNumber) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = normal({1, 6}, 1), bias = allocate_zeros(DType::f32, {6});
  for (const size_t at : {1, 2, 5}) values<float>(logits.view)[at] = std::nanf("");
  values<float>(bias.view)[0] = -std::numeric_limits<float>::infinity();

  EXPECT_THAT(vector_of<int32_t>(route(queue, logits, bias, {6, 1, 1, 3, false, 1.0}).ids.view),
              ElementsAre(0, 3, 4));
  EXPECT_THAT(vector_of<int32_t>(route(queue, logits, bias, {6, 1, 1, 4, false, 1.0}).ids.view),
              ElementsAre(0, 1, 3, 4));
}

// Law 1.
TEST(Routing, ATokenIsRoutedTheSameInAnyCompany) {
  const reference::Routing r = recipes[0];
  const int64_t T = 333, E = 256, K = 8;
  const Buffer wide = normal({T, E + 5}, 1, 2.0f), bias = normal({E}, 2, 0.1f);
  const ConstTensor logits = columns(ConstTensor(wide), 3, E);

  const auto weights = expect_same_bits_everywhere(
      [&](Queue& queue) { return to_vector(route(queue, logits, bias, r).weights); });
  const auto ids = expect_same_bits_everywhere(
      [&](Queue& queue) { return vector_of<int32_t>(route(queue, logits, bias, r).ids.view); });

  ThreadPool pool(1);
  Queue queue(pool);
  for (int64_t t = 0; t < T; t += 37) {
    const Routed alone = route(queue, row_range(logits, t, 1), bias, r);
    EXPECT_EQ(vector_of<int32_t>(alone.ids.view),
              std::vector<int32_t>(ids.begin() + t * K, ids.begin() + (t + 1) * K));
    EXPECT_TRUE(same_bits(to_vector(alone.weights),
                          {weights.begin() + t * K, weights.begin() + (t + 1) * K}));
  }
}

TEST(Routing, CountsTheTokensOfEachExpert) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Buffer ids = integers({0, 3, 3, 4, 0, 3}, {3, 2}), loads = allocate(DType::i64, {5});

  count_experts(queue, {.expert_ids = ids, .loads = loads});
  queue.wait();

  EXPECT_THAT(vector_of<int64_t>(loads.view), ElementsAre(2, 0, 0, 3, 1));
}

TEST(Routing, RefusesARecipeThatCannotBe) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer logits = normal({2, 12}, 1), bias = normal({12}, 2), short_bias = normal({11}, 3);
  const auto error = [&](const reference::Routing& r, const Buffer& b) {
    return kernel_error([&] { route(queue, logits, b, r); });
  };

  EXPECT_THAT(error({12, 5, 2, 2, true, 1}, bias), HasSubstr("n_groups 5 does not divide E 12"));
  EXPECT_THAT(error({12, 0, 1, 2, true, 1}, bias), HasSubstr("n_groups 0"));
  EXPECT_THAT(error({12, 4, 5, 2, true, 1}, bias),
              HasSubstr("top_groups 5, wanted 1 to n_groups 4"));
  EXPECT_THAT(error({12, 4, 0, 2, true, 1}, bias), HasSubstr("top_groups 0"));
  EXPECT_THAT(error({12, 4, 2, 7, true, 1}, bias), HasSubstr("K 7, wanted 1 to the 6 experts"));
  EXPECT_THAT(error({12, 4, 2, 0, true, 1}, bias), HasSubstr("K 0"));
  EXPECT_THAT(error({12, 4, 2, 4, true, 1}, short_bias),
              HasSubstr("route_tokens bias is [11] f32, wanted [12] f32"));
}

TEST(Routing, AnExpertIdOutsideIsAnErrorFromTheQueue) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer loads = allocate(DType::i64, {4}), scores = normal({1, 4}, 1), k = normal({1, 2}, 2);
  const Buffer out = allocate_f32({1, 4}), loss = allocate_f32({1});
  for (const int32_t bad : {4, -1}) {
    const Buffer ids = integers({0, bad}, {1, 2});
    const auto expected = HasSubstr("expert id " + std::to_string(bad) + ", wanted 0 to 3");

    count_experts(queue, {.expert_ids = ids, .loads = loads});
    EXPECT_THAT(kernel_error([&] { queue.wait(); }), expected);
    route_tokens_backward(queue, {.dweights = k,
                                  .scores = scores,
                                  .expert_ids = ids,
                                  .normalize = true,
                                  .scale = 1,
                                  .dscores = {},
                                  .dlogits = out});
    EXPECT_THAT(kernel_error([&] { queue.wait(); }), expected);
    balance_loss(queue, {.scores = scores,
                         .expert_ids = ids,
                         .sequence_rows = 1,
                         .unbiased_choice = false,
                         .scale = 1,
                         .losses = loss,
                         .dscores = out});
    EXPECT_THAT(kernel_error([&] { queue.wait(); }), expected);
  }
}

}  // namespace
}  // namespace troupe::tests
