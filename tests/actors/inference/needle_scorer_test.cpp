#include "actors/inference/needle_scorer.h"

#include <gmock/gmock.h>

#include "tests/actors/inference/small_decoder.h"

namespace troupe::tests {
namespace {

using namespace actors;
using runtime::NeedlePrompt;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Tokens = std::vector<int32_t>;

class NeedleScorer : public SmallDecoder {
 protected:
  static NeedlePrompt prompt(uint32_t number, size_t length, std::vector<Tokens> candidates) {
    NeedlePrompt out{{}, 0, std::move(candidates)};
    for (uint64_t i = 0; i < length; ++i) out.tokens.push_back(token(number, i));
    return out;
  }

  std::vector<NeedleScore> scores(const std::vector<NeedlePrompt>& prompts) {
    return score_needles({.decoder = decoder_, .prompts = prompts, .progress = {}});
  }

  /// ln p of `value` behind the prompt, by the decoder's own loss.
  double log_prob(const NeedlePrompt& prompt, const Tokens& value) {
    Tokens tokens = prompt.tokens, targets(prompt.tokens.size() - 1, -1);
    tokens.insert(tokens.end(), value.begin(), value.end() - 1);
    targets.insert(targets.end(), value.begin(), value.end());
    DecoderSequence sequence = decoder_.new_sequence();
    const Decoder::Part part{&sequence, tokens};
    double sum = 0;
    for (const float loss : decoder_.losses({&part, 1}, targets)) sum -= double{loss};
    return sum;
  }

  /// The likeliest tokens, one after the other.
  Tokens greedy(const NeedlePrompt& prompt, size_t count) {
    Tokens tokens = prompt.tokens, out;
    for (; out.size() < count; tokens.push_back(out.back())) {
      DecoderSequence sequence = decoder_.new_sequence();
      const Decoder::Part part{&sequence, tokens};
      const kernels::Buffer logits = decoder_.last_logits({&part, 1});
      const float* row = kernels::values<float>(logits.view);
      out.push_back(static_cast<int32_t>(std::max_element(row, row + 23) - row));
    }
    return out;
  }
};

TEST_F(NeedleScorer, LogProbsAreThoseOfTheDecoderAlsoOfLongValues) {
  const std::vector<NeedlePrompt> prompts{prompt(1, 9, {{3}, {4}}),
                                          prompt(2, 17, {{5, 1, 7}, {5}, {5, 1}}),
                                          prompt(3, 16, {{2, 2}, {3, 9, 9, 1}})};

  const auto found = scores(prompts);

  ASSERT_EQ(found.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const double right = log_prob(prompts[i], prompts[i].candidates[0]);
    EXPECT_NEAR(found[i].log_prob, right, 1e-5);
    bool is_best = true;
    for (const Tokens& other : std::span(prompts[i].candidates).subspan(1)) {
      is_best = is_best && right > log_prob(prompts[i], other);
    }
    EXPECT_EQ(found[i].is_chosen, is_best);
  }
}

TEST_F(NeedleScorer, AGreedyContinuationIsExactAndAnotherIsNot) {
  for (uint32_t number = 0; number < 5; ++number) {
    const NeedlePrompt at = prompt(number, 12, {});
    const Tokens best = greedy(at, 3);
    Tokens late = best, early = best;
    late.back() = (late.back() + 1) % 23;
    early.front() = (early.front() + 1) % 23;

    const auto found = scores({prompt(number, 12, {best, late, early}),
                               prompt(number, 12, {late, best}),
                               prompt(number, 12, {early, best})});

    EXPECT_TRUE(found[0].is_exact && found[0].is_chosen);
    EXPECT_FALSE(found[1].is_exact || found[1].is_chosen);
    EXPECT_FALSE(found[2].is_exact);
  }
}

// What one candidate leaves in the caches is not seen by the next.
TEST_F(NeedleScorer, TheOrderOfCandidatesDoesNotShow) {
  const Tokens value{6, 7, 8};
  const auto first = scores({prompt(4, 10, {value, {1, 2, 3}, {4, 5}})});
  const auto last = scores({prompt(4, 10, {value, {4, 5}, {1, 2, 3}})});

  EXPECT_EQ(first[0].log_prob, last[0].log_prob);
  EXPECT_EQ(first[0].is_chosen, last[0].is_chosen);
}

// Law 1. 60 prompts of 80 tokens are several calls.
TEST_F(NeedleScorer, WhichPromptsAreInACallDoesNotShow) {
  std::vector<NeedlePrompt> prompts;
  for (uint32_t i = 0; i < 60; ++i) prompts.push_back(prompt(i, 80, {{token(99, i)}, {0, 1}}));

  const auto together = scores(prompts);

  for (size_t i = 0; i < 60; i += 7) {
    const auto alone = scores({prompts[i]});
    EXPECT_EQ(alone[0].log_prob, together[i].log_prob);
    EXPECT_EQ(alone[0].is_chosen, together[i].is_chosen);
  }
}

TEST_F(NeedleScorer, AnUntrainedModelIsRightByChance) {
  std::vector<NeedlePrompt> prompts;
  for (uint32_t i = 0; i < 200; ++i) {
    std::vector<Tokens> candidates;
    const int32_t first = token(100, i);
    for (int32_t c = 0; c < 4; ++c) candidates.push_back({(first + 5 * c) % 23});
    prompts.push_back(prompt(i, 20, candidates));
  }

  int64_t chosen = 0;
  for (const NeedleScore& score : scores(prompts)) chosen += score.is_chosen;

  EXPECT_NEAR(static_cast<double>(chosen) / 200, 0.25, 0.12);  // 4 standard deviations
}

TEST_F(NeedleScorer, APromptThatOutgrowsTheModelIsRefused) {
  EXPECT_EQ(scores({prompt(1, 255, {{1}, {2}})}).size(), 1u);
  EXPECT_THAT(([&] { scores({prompt(1, 255, {{1}, {2, 3}})}); }),
              ThrowsMessage<kernels::KernelError>(
                  HasSubstr("a haystack of 257 tokens, the model has 256 positions")));
}

}  // namespace
}  // namespace troupe::tests
