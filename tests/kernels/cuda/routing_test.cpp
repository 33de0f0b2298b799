#include "kernels/ops/routing.h"

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

using RoutingCudaTest = GpuTest;

struct Shape {
  int64_t T, E;
  int groups, top_groups;
  int64_t K;
};

TEST_F(RoutingCudaTest, ChoosesAndWeighsAsTheCpuWithTiesAndNan) {
  for (const Shape& s : {Shape{4, 4, 1, 1, 2},
                         {300, 64, 8, 4, 8},
                         {101, 256, 8, 4, 8},
                         {37, 128, 8, 4, 8},
                         {1, 256, 1, 1, 32},
                         {33, 16, 16, 3, 2},
                         {65, 32, 32, 12, 7},
                         {65, 32, 4, 2, 16},
                         {66, 64, 16, 5, 6},
                         {67, 128, 16, 6, 8},
                         {68, 128, 2, 1, 5},
                         {20, 40, 4, 2, 20}}) {
    Buffer logits = normal({s.T, s.E}, 1), bias = normal({s.E}, 2, 0.1f);
    for (int64_t i = 0; i < logits.view.count(); ++i) {  // many ties
      float& x = values<float>(logits.view)[i];
      x = std::floor(x * 2.0f) / 2.0f;
      if (i % 211 == 7) x = std::numeric_limits<float>::quiet_NaN();
    }
    for (int64_t e = 0; e < s.E; ++e) {
      float& x = values<float>(bias.view)[e];
      x = std::floor(x * 4.0f) / 4.0f;
    }
    for (const auto& [normalize, is_apart] : {std::pair(false, false), {true, false}, {true, true}}) {
      expect_twins([&, normalize = normalize, is_apart = is_apart](Side& side) {
        const Tensor scores = side.out({s.T, s.E}), weights = side.out({s.T, s.K});
        const Tensor ids = side.out(DType::i32, {s.T, s.K}), loads = side.out(DType::i64, {s.E});
        route_tokens(side.queue, {.logits = is_apart ? side.in(logits) : side.plain(logits),
                                  .bias = side.plain(bias),
                                  .n_groups = s.groups,
                                  .top_groups = s.top_groups,
                                  .normalize = normalize,
                                  .scale = 2.5f,
                                  .scores = scores,
                                  .expert_ids = ids,
                                  .weights = weights});
        count_experts(side.queue, {.expert_ids = ids, .loads = loads});
        return side.bytes({scores, ids, weights, loads});
      });
    }
  }
}

TEST_F(RoutingCudaTest, BackwardAndBalanceLossGiveTheCpusBits) {
  constexpr int64_t T = 96, E = 40, K = 5, S = 32;
  const Buffer logits = normal({T, E}, 3), bias = normal({E}, 4, 0.1f),
               dweights = normal({T, K}, 5);

  for (const bool unbiased : {false, true}) {
    expect_twins([&](Side& side) {
      const Tensor scores = side.out({T, E}), weights = side.out({T, K}),
                   losses = side.out({T / S});
      const Tensor ids = side.out(DType::i32, {T, K}), dscores = side.out({T, E});
      const Tensor with = side.out({T, E}), without = side.out({T, E});
      route_tokens(side.queue, {.logits = side.in(logits),
                                .bias = side.plain(bias),
                                .n_groups = 4,
                                .top_groups = 2,
                                .normalize = true,
                                .scale = 2.5f,
                                .scores = scores,
                                .expert_ids = ids,
                                .weights = weights});
      balance_loss(side.queue, {.scores = scores,
                                .expert_ids = ids,
                                .sequence_rows = S,
                                .unbiased_choice = unbiased,
                                .scale = 0.001f,
                                .losses = losses,
                                .dscores = dscores});
      for (const bool has_loss : {false, true}) {
        route_tokens_backward(side.queue,
                              {.dweights = side.in(dweights),
                               .scores = scores,
                               .expert_ids = ids,
                               .normalize = true,
                               .scale = 2.5f,
                               .dscores = has_loss ? ConstTensor(dscores) : ConstTensor{},
                               .dlogits = has_loss ? with : without});
      }
      return side.bytes({losses, dscores, with, without});
    });
  }
}

}  // namespace
}  // namespace troupe::tests
