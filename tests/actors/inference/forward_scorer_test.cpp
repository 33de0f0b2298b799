#include "actors/inference/forward_scorer.h"

#include <gtest/gtest.h>

#include "tests/actors/inference/forward_score.h"

namespace troupe::tests {
namespace {

using namespace actors;

void expect_the_same(const std::vector<Score>& found, const std::vector<Score>& wanted, const std::string& what) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t d = 0; d < wanted.size(); ++d) {
    EXPECT_EQ(found[d].nats, wanted[d].nats) << what << " document " << d;
    EXPECT_EQ(found[d].tokens, wanted[d].tokens);
    EXPECT_EQ(found[d].bytes, wanted[d].bytes);
  }
}

// Law 1: how long the window beside it is, and what padding stands behind it, shows in no bit.
TEST(ForwardScorer, HasTheDecodersBits) {
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::bf16, kernels::Precision::fp8}) {
    ScoredModel model(precision);
    const std::vector<Score> found = model.score_by_forward(kernels::Device::cpu, 3);
    expect_the_same(found, model.score_by_decoder(), kernels::to_string(precision));
  }
}

TEST(ForwardScorer, WindowsOfOtherLengthsAndCallsOfOtherSizesHaveTheSameBits) {
  ScoredModel model(kernels::Precision::fp32, 100);
  const std::vector<Score> wanted = model.score_by_decoder();
  for (const int64_t rows : {1, 200, 1000}) {
    model.rows_at_once = rows;
    model.layers_done = 0;
    expect_the_same(model.score_by_forward(kernels::Device::cpu), wanted, std::to_string(rows));
    EXPECT_EQ(model.layers_done % (static_cast<int>(model.recipe.shape.layers) + 1), 0);
  }
}

TEST(ForwardScorer, AWindowOfOnePositionIsRefused) {
  ScoredModel model(kernels::Precision::fp32);
  model.recipe.sequence_rows = 1;
  EXPECT_THROW(model.score_by_forward(kernels::Device::cpu), kernels::KernelError);
}

}  // namespace
}  // namespace troupe::tests
