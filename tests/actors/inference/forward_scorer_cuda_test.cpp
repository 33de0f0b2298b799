// Scoring on the GPU: in the CPU's arithmetic with its bits, with tensor cores near them.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/device/device.h"
#include "tests/actors/inference/forward_score.h"

namespace troupe::tests {
namespace {

using namespace actors;

class ForwardScorerCuda : public testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
  }
};

TEST_F(ForwardScorerCuda, HasTheCpusBitsInItsArithmetic) {
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::bf16, kernels::Precision::fp8}) {
    ScoredModel model(precision);
    const std::vector<Score> found = model.score_by_forward(kernels::Device::cuda);
    const std::vector<Score> wanted = model.score_by_decoder();
    for (size_t d = 0; d < wanted.size(); ++d) {
      EXPECT_EQ(found[d].nats, wanted[d].nats) << kernels::to_string(precision) << " document " << d;
    }
  }
}

TEST_F(ForwardScorerCuda, IsNearTheCpuOnTensorCores) {
  for (const auto precision : {kernels::Precision::bf16, kernels::Precision::fp8}) {
    ScoredModel model(precision);
    const double wanted = sum_of(model.score_by_decoder()).loss();
    model.recipe.arithmetic = kernels::Arithmetic::sm_90a;
    const double found = sum_of(model.score_by_forward(kernels::Device::cuda)).loss();
    EXPECT_NEAR(found, wanted, 0.02 * wanted) << kernels::to_string(precision);
  }
}

}  // namespace
}  // namespace troupe::tests
