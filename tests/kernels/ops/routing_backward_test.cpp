// The gradients of kernels/ops/routing.h: routing weights and balance loss.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/routing.h"
#include "tests/kernels/arrangements.h"
#include "tests/kernels/reference/routing.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using testing::HasSubstr;

/// Scores in (0, 1) and K distinct ascending ids a row.
struct Case {
  int64_t T, E, K;
  Buffer scores, ids;

  Case(int64_t tokens, int64_t experts, int64_t per_token)
      : T(tokens), E(experts), K(per_token), scores(normal({T, E}, 1)) {
    std::vector<int32_t> all;
    for (int64_t t = 0; t < T; ++t) {
      Doubles keys;
      for (int64_t e = 0; e < E; ++e) {
        float& score = values<float>(scores.view)[t * E + e];
        score = static_cast<float>(reference::sigmoid(score));
        keys.push_back(random_uniform({7, Purpose::test, 2, static_cast<uint64_t>(t * E + e)}));
      }
      for (const int32_t id : reference::largest(keys, static_cast<size_t>(K))) all.push_back(id);
    }
    ids = integers(all, {T, K});
  }

  std::vector<int32_t> ids_of(int64_t t) const {
    return vector_of<int32_t>(row_range(ConstTensor(ids), t, 1));
  }
};

Doubles sigmoids(Doubles x) {
  for (double& v : x) v = reference::sigmoid(v);
  return x;
}

TEST(RoutingBackward, AgreesWithFiniteDifferencesOfTheWeights) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Case c(5, 19, 4);
  const Buffer dweights = normal({c.T, c.K}, 3), dscores = normal({c.T, c.E}, 4);
  for (const bool normalize : {false, true}) {
    for (const bool balanced : {false, true}) {
      const Buffer dlogits = allocate_f32({c.T, c.E});
      const reference::Routing r{19, 1, 1, 4, normalize, 2.5};

      route_tokens_backward(queue, {.dweights = dweights,
                                    .scores = c.scores,
                                    .expert_ids = c.ids,
                                    .normalize = normalize,
                                    .scale = 2.5f,
                                    .dscores = balanced ? ConstTensor(dscores) : ConstTensor{},
                                    .dlogits = dlogits});
      queue.wait();

      for (int64_t t = 0; t < c.T; ++t) {
        const auto one = [t](const Buffer& b) {
          return to_doubles(row_range(ConstTensor(b), t, 1));
        };
        Doubles logits = one(c.scores);
        for (double& s : logits) s = std::log(s / (1 - s));
        const Doubles numeric = finite_differences(
            [&](const Doubles& x) {
              const Doubles scores = sigmoids(x);
              const double balance = balanced ? inner_product(scores, one(dscores)) : 0;
              return balance + inner_product(reference::expert_weights(scores, c.ids_of(t), r),
                                             one(dweights));
            },
            logits);
        EXPECT_LT(relative_difference(one(dlogits), numeric), 2e-6) << normalize << balanced;
      }
    }
  }
}

TEST(RoutingBackward, BalanceLossAgreesWithFiniteDifferencesAndCountsAsAsked) {
  ThreadPool pool(2);
  Queue queue(pool);
  const Case c(12, 10, 3);
  const int64_t S = 4;
  for (const bool unbiased : {false, true}) {
    const Buffer losses = allocate_f32({3}), dscores = allocate_f32({c.T, c.E});

    balance_loss(queue, {.scores = c.scores,
                         .expert_ids = c.ids,
                         .sequence_rows = S,
                         .unbiased_choice = unbiased,
                         .scale = 0.5f,
                         .losses = losses,
                         .dscores = dscores});
    queue.wait();

    for (int64_t sequence = 0; sequence < 3; ++sequence) {
      std::vector<int64_t> counts(10);
      for (int64_t t = sequence * S; t < (sequence + 1) * S; ++t) {
        const Doubles scores = to_doubles(row_range(ConstTensor(c.scores), t, 1));
        for (const int32_t id : unbiased ? reference::largest(scores, 3) : c.ids_of(t)) {
          ++counts[static_cast<size_t>(id)];
        }
      }
      const auto of = [&](const Buffer& b) {
        return to_doubles(row_range(ConstTensor(b), sequence * S, S));
      };
      const auto loss = [&](const Doubles& s) {
        return reference::balance_loss(s, counts, 3, 0.5);
      };
      const Doubles numeric = finite_differences(loss, of(c.scores));
      EXPECT_NEAR(to_doubles(losses)[static_cast<size_t>(sequence)], loss(of(c.scores)), 5e-7);
      EXPECT_LT(relative_difference(of(dscores), numeric), 2e-6);
    }
  }
}

TEST(RoutingBackward, BalanceLossIsAlphaWhenLoadsAreEven) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Buffer scores = floats(std::vector<float>(8, 0.5f), {2, 4});
  const Buffer ids = integers({0, 1, 2, 3}, {2, 2}), loss = allocate_f32({1}),
               d = allocate_f32({2, 4});

  balance_loss(queue, {.scores = scores,
                       .expert_ids = ids,
                       .sequence_rows = 2,
                       .unbiased_choice = false,
                       .scale = 1e-4f,
                       .losses = loss,
                       .dscores = d});
  queue.wait();

  EXPECT_FLOAT_EQ(to_vector(loss)[0], 1e-4f);
  EXPECT_EQ(to_vector(d), std::vector<float>(8, 0.0f));
}

// Law 1: a token's gradient depends on the token alone, a sequence's loss on the sequence.
TEST(RoutingBackward, GivesTheSameBitsInAnyArrangement) {
  const Case c(1200, 251, 6);
  const int64_t S = 100;
  const Buffer dweights = normal({c.T, c.K}, 3);
  const auto run = [&](Queue& queue, int64_t first, int64_t n) {
    const Buffer out = allocate_f32({2 * n, c.E}), losses = allocate_f32({n / S});
    const ConstTensor scores = row_range(ConstTensor(c.scores), first, n);
    const ConstTensor ids = row_range(ConstTensor(c.ids), first, n);
    balance_loss(queue, {.scores = scores,
                         .expert_ids = ids,
                         .sequence_rows = S,
                         .unbiased_choice = true,
                         .scale = 0.1f,
                         .losses = losses,
                         .dscores = row_range(out.view, 0, n)});
    route_tokens_backward(queue, {.dweights = row_range(ConstTensor(dweights), first, n),
                                  .scores = scores,
                                  .expert_ids = ids,
                                  .normalize = true,
                                  .scale = 2.5f,
                                  .dscores = row_range(out.view, 0, n),
                                  .dlogits = row_range(out.view, n, n)});
    queue.wait();
    auto result = to_vector(row_range(out.view, n, n));
    const auto more = to_vector(losses);
    result.insert(result.end(), more.begin(), more.end());
    return result;
  };

  const auto all = expect_same_bits_everywhere([&](Queue& queue) { return run(queue, 0, c.T); });

  ThreadPool pool(2);
  Queue queue(pool);
  for (const int64_t sequence : {0, 7, 11}) {
    const auto alone = run(queue, sequence * S, S);
    EXPECT_TRUE(
        same_bits({alone.begin(), alone.begin() + S * c.E},
                  {all.begin() + sequence * S * c.E, all.begin() + (sequence + 1) * S * c.E}));
    EXPECT_EQ(alone.back(), all[static_cast<size_t>(c.T * c.E + sequence)]);
  }
}

TEST(RoutingBackward, RefusesOtherShapesByName) {
  ThreadPool pool(1);
  Queue queue(pool);
  const Case c(6, 5, 2);
  const Buffer dweights = normal({6, 3}, 3), out = allocate_f32({6, 5}), two = allocate_f32({2});

  EXPECT_THAT(kernel_error([&] {
                route_tokens_backward(queue, {.dweights = dweights,
                                              .scores = c.scores,
                                              .expert_ids = c.ids,
                                              .normalize = true,
                                              .scale = 1,
                                              .dscores = {},
                                              .dlogits = out});
              }),
              HasSubstr("route_tokens_backward dweights is [6, 3] f32, wanted [6, 2] f32"));
  BalanceLossArgs args{.scores = c.scores,
                       .expert_ids = c.ids,
                       .sequence_rows = 4,
                       .unbiased_choice = false,
                       .scale = 1,
                       .losses = two,
                       .dscores = out};
  EXPECT_THAT(kernel_error([&] { balance_loss(queue, args); }),
              HasSubstr("sequence_rows 4 does not divide T 6"));
  args.sequence_rows = 0;
  EXPECT_THAT(kernel_error([&] { balance_loss(queue, args); }), HasSubstr("sequence_rows 0"));
  args.sequence_rows = 2;
  EXPECT_THAT(kernel_error([&] { balance_loss(queue, args); }),
              HasSubstr("balance_loss losses is [2] f32, wanted [3] f32"));
}

}  // namespace
}  // namespace troupe::tests
