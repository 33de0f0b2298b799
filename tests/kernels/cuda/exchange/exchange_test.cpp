#include "kernels/cuda/exchange/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/kernels/cuda/exchange/exchange_case.h"

namespace troupe::tests {
namespace {

using kernels::cuda::ExchangeCall;
using kernels::cuda::ExchangeFault;
using Ranks = ExchangeRank::Ranks;

ExchangeShape shape_of(int ranks) {
  return {.ranks = ranks, .tokens = 700, .slots = 8, .experts = 64, .groups = 8, .kept_groups = 4, .columns = 520,
          .row_bytes = 512, .scale_bytes = 16};
}

/// Where ranks are: by rank, GPUs of this machine.
using Gpus = std::vector<int>;

class Exchange : public testing::TestWithParam<Gpus> {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
    int gpus = 0;
    expect_cuda(cudaGetDeviceCount(&gpus), "GPUs");
    if (*std::max_element(GetParam().begin(), GetParam().end()) >= gpus) GTEST_SKIP() << "one GPU alone";
    for (const int gpu : GetParam()) {
      for (const int other : GetParam()) reach(gpu, other);
    }
  }
  void TearDown() override { cudaSetDevice(0); }

  static void reach(int gpu, int other) {
    if (gpu == other) return;
    expect_cuda(cudaSetDevice(gpu), "device");
    if (cudaDeviceEnablePeerAccess(other, 0) == cudaErrorPeerAccessAlreadyEnabled) cudaGetLastError();
  }

  static Ranks make_ranks(const ExchangeShape& shape, const Gpus& gpus) {
    Ranks ranks;
    for (int r = 0; r < shape.ranks; ++r) {
      ranks.push_back(std::make_unique<ExchangeRank>(shape, gpus[static_cast<size_t>(r)]));
    }
    return ranks;
  }

  /// Rank r has the tokens of worker r.
  static void run(const Ranks& ranks, const std::vector<WorkerTokens>& workers, uint32_t generation) {
    const int R = static_cast<int>(ranks.size());
    for (int r = 0; r < R; ++r) {
      ranks[static_cast<size_t>(r)]->set_tokens(workers[static_cast<size_t>(r)]);
      for (int s = 0; s < R; ++s) {
        ranks[static_cast<size_t>(r)]->set_answers(s, r, workers[static_cast<size_t>(s)], s);
      }
    }
    const auto each = [&](auto what) {
      for (int r = 0; r < R; ++r) {
        ExchangeRank& rank = *ranks[static_cast<size_t>(r)];
        what(rank, rank.call(r, generation, ranks));
      }
    };
    each([](ExchangeRank& rank, const ExchangeCall& call) { rank.dispatch(call); });
    each([](ExchangeRank& rank, const ExchangeCall& call) { rank.combine(call); });
  }

  static void expect_rows(const ExchangeShape& x, const ExchangeRank& rank, int r, int source,
                          const WorkerTokens& tokens) {
    const int per_rank = x.experts / x.ranks;
    const auto wanted = rows_of_experts(x, tokens, r * per_rank, per_rank);
    const std::vector<char> payload = rank.payload(source), scales = rank.scales(source);
    const std::vector<int32_t> offsets = rank.offsets(source);
    ASSERT_EQ(offsets.back(), static_cast<int32_t>(wanted.size()));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto [token, slot] = wanted[i];
      const int expert = tokens.ids[static_cast<size_t>(token * x.slots + slot)] - r * per_rank;
      ASSERT_LE(offsets[static_cast<size_t>(expert)], static_cast<int32_t>(i));
      ASSERT_GT(offsets[static_cast<size_t>(expert) + 1], static_cast<int32_t>(i));
      const auto at = static_cast<std::ptrdiff_t>(i), from = static_cast<std::ptrdiff_t>(token);
      ASSERT_TRUE(std::equal(payload.begin() + at * x.row_bytes, payload.begin() + (at + 1) * x.row_bytes,
                             tokens.payload.begin() + from * x.row_bytes)) << i;
      ASSERT_TRUE(std::equal(scales.begin() + at * x.scale_bytes, scales.begin() + (at + 1) * x.scale_bytes,
                             tokens.scales.begin() + from * x.scale_bytes)) << i;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(OnGpus, Exchange, testing::Values(Gpus{0}, Gpus{0, 0}, Gpus{0, 1}, Gpus{0, 0, 0, 0}),
                         [](const auto& info) { return std::to_string(info.index); });

TEST_P(Exchange, BringsTokensIntoTheOrderOfExpertsAndTheirSumsBack) {
  const ExchangeShape x = shape_of(static_cast<int>(GetParam().size()));
  const Ranks ranks = make_ranks(x, GetParam());
  uint32_t generation = 0;
  for (const Routing routing : {Routing::even, Routing::one_group, Routing::one_rank}) {
    for (const int64_t first : {700, 1, 0, 613}) {
      std::vector<WorkerTokens> workers;
      for (int r = 0; r < x.ranks; ++r) {
        workers.push_back(make_tokens(x, r % 2 == 0 ? first : 97, routing, static_cast<uint64_t>(r) + 5));
      }
      run(ranks, workers, ++generation);
      for (int r = 0; r < x.ranks; ++r) {
        const ExchangeRank& rank = *ranks[static_cast<size_t>(r)];
        ASSERT_EQ(rank.fault(), ExchangeFault::none);
        for (int s = 0; s < x.ranks; ++s) expect_rows(x, rank, r, s, workers[static_cast<size_t>(s)]);
        // Law 2: whoever has the experts.
        ASSERT_EQ(rank.y(), combined(x, workers[static_cast<size_t>(r)], r)) << "generation " << generation;
      }
    }
  }
}

TEST_P(Exchange, GivesAWholeModelsRowsToo) {
  const int R = static_cast<int>(GetParam().size());
  const ExchangeShape x{.ranks = R, .tokens = 130, .slots = 8, .experts = 256, .groups = 8, .kept_groups = 4,
                        .columns = 7168, .row_bytes = 7168, .scale_bytes = 224};
  const Ranks ranks = make_ranks(x, GetParam());
  std::vector<WorkerTokens> workers;
  for (int r = 0; r < R; ++r) workers.push_back(make_tokens(x, 130, Routing::even, static_cast<uint64_t>(r)));
  run(ranks, workers, 1);
  for (int r = 0; r < R; ++r) {
    const ExchangeRank& rank = *ranks[static_cast<size_t>(r)];
    ASSERT_EQ(rank.fault(), ExchangeFault::none);
    for (int s = 0; s < R; ++s) expect_rows(x, rank, r, s, workers[static_cast<size_t>(s)]);
    ASSERT_EQ(rank.y(), combined(x, workers[static_cast<size_t>(r)], r));
  }
}

// Who has no tokens waits for nobody, and may be in the next generation while others are in this one.
TEST_P(Exchange, ARankThatIsAheadIsNotTakenForItsNextGeneration) {
  const ExchangeShape x = shape_of(static_cast<int>(GetParam().size()));
  if (x.ranks == 1) GTEST_SKIP() << "there is no other";
  const Ranks ranks = make_ranks(x, GetParam());
  const auto rank = [&](int r) -> ExchangeRank& { return *ranks[static_cast<size_t>(r)]; };
  std::vector<WorkerTokens> first, second;
  for (int r = 0; r < x.ranks; ++r) {
    first.push_back(make_tokens(x, r == 0 ? 0 : 97, Routing::even, static_cast<uint64_t>(r)));
    second.push_back(make_tokens(x, 700, Routing::even, static_cast<uint64_t>(r) + 20));
  }
  const auto prepare = [&](int r, const std::vector<WorkerTokens>& workers) {
    rank(r).set_tokens(workers[static_cast<size_t>(r)]);
    for (int s = 0; s < x.ranks; ++s) rank(r).set_answers(s, r, workers[static_cast<size_t>(s)], s);
  };

  for (int r = 0; r < x.ranks; ++r) prepare(r, first);
  for (int r = 0; r < x.ranks; ++r) rank(r).dispatch(rank(r).call(r, 1, ranks));
  rank(0).combine(rank(0).call(0, 1, ranks));
  ASSERT_EQ(rank(0).fault(), ExchangeFault::none);
  prepare(0, second);
  rank(0).dispatch(rank(0).call(0, 2, ranks));  // the others have yet to combine
  for (int r = 1; r < x.ranks; ++r) rank(r).combine(rank(r).call(r, 1, ranks));
  for (int r = 1; r < x.ranks; ++r) {
    rank(r).use();
    expect_cuda(cudaStreamSynchronize(rank(r).stream), "combine");
    prepare(r, second);
  }
  for (int r = 1; r < x.ranks; ++r) rank(r).dispatch(rank(r).call(r, 2, ranks));
  for (int r = 0; r < x.ranks; ++r) rank(r).combine(rank(r).call(r, 2, ranks));

  for (int r = 0; r < x.ranks; ++r) {
    ASSERT_EQ(rank(r).fault(), ExchangeFault::none);
    ASSERT_EQ(rank(r).y(), combined(x, second[static_cast<size_t>(r)], r)) << r;
  }
}

// Law 6: who waits for another does not wait for ever.
TEST_P(Exchange, ReportsARankThatDoesNotCome) {
  const ExchangeShape x = shape_of(static_cast<int>(GetParam().size()));
  if (x.ranks == 1) GTEST_SKIP() << "there is no other";
  const Ranks ranks = make_ranks(x, GetParam());
  ranks[0]->set_tokens(make_tokens(x, 50, Routing::even, 1));
  ExchangeCall call = ranks[0]->call(0, 1, ranks);
  call.patience_ns = 10'000'000;
  ranks[0]->dispatch(call);
  EXPECT_EQ(ranks[0]->fault(), ExchangeFault::lost_peer);
}

TEST_P(Exchange, ReportsExpertsThatAreNoneOrDoNotAscend) {
  const ExchangeShape x = shape_of(1);
  for (const auto& [slot, id] : {std::pair{3, 64}, {3, -1}, {0, 63}}) {
    const Ranks ranks = make_ranks(x, {0});
    WorkerTokens tokens = make_tokens(x, 50, Routing::even, 1);
    tokens.ids[static_cast<size_t>(7 * x.slots + slot)] = id;
    run(ranks, {make_tokens(x, 50, Routing::even, 1)}, 1);
    ranks[0]->set_tokens(tokens);
    ranks[0]->dispatch(ranks[0]->call(0, 2, ranks));
    ranks[0]->combine(ranks[0]->call(0, 2, ranks));
    EXPECT_EQ(ranks[0]->fault(), ExchangeFault::expert_id);
  }
}

TEST_P(Exchange, RefusesSizesThatKernelsCannotTake) {
  for (auto change : {+[](ExchangeShape& x) { x.slots = 6; }, +[](ExchangeShape& x) { x.ranks = 3; },
                      +[](ExchangeShape& x) { x.row_bytes = 500; }, +[](ExchangeShape& x) { x.row_bytes = 12304; }, +[](ExchangeShape& x) { x.columns = 7; },
                      +[](ExchangeShape& x) { x.kept_groups = 9; }}) {
    ExchangeShape x = shape_of(1);
    change(x);
    EXPECT_THROW(kernels::cuda::exchange_window_bytes(x), kernels::KernelError);
  }
}

}  // namespace
}  // namespace troupe::tests
