#include "kernels/layers/ffn_codes.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/layers/on_device.h"

namespace troupe::tests {
namespace {

using namespace kernels;

constexpr FfnOptions of_experts{.precision = Precision::fp8, .is_moe = true};

FfnWeights weights_of(int64_t D, int64_t F) {
  const Buffer wide = allocate_f32({F, D}), tall = allocate_f32({D, F});
  return {wide, wide, tall};
}

TEST(FfnCodes, AreNotForTheCpu) {
  ThreadPool pool(1);
  Queue queue(pool);
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp8}) {
    EXPECT_FALSE(goes_in_codes(queue, {.precision = precision, .is_moe = true}, weights_of(256, 128)));
  }
}

class FfnCodesOnGpu : public LayerOnGpuTest {
 protected:
  void SetUp() override {
    LayerOnGpuTest::SetUp();
    if (!IsSkipped()) queue = std::make_unique<Queue>(pool, Device::cuda, Arithmetic::sm_90a);
  }
  ThreadPool pool{2};
  std::unique_ptr<Queue> queue;
};

TEST_F(FfnCodesOnGpu, AreForExpertsInFp8WithWholeTiles) {
  EXPECT_TRUE(goes_in_codes(*queue, of_experts, weights_of(48, 128)));
  EXPECT_FALSE(goes_in_codes(*queue, of_experts, weights_of(48, 120)));
  EXPECT_FALSE(goes_in_codes(*queue, of_experts, weights_of(40, 128)));
  EXPECT_FALSE(goes_in_codes(*queue, {.precision = Precision::fp8}, weights_of(48, 128)));
  EXPECT_FALSE(goes_in_codes(*queue, {.precision = Precision::bf16, .is_moe = true}, weights_of(48, 128)));
}

// One product for both, or one each.
TEST_F(FfnCodesOnGpu, SumsOfGateAloneAreThoseOfGateBesideUp) {
  const int64_t R = 200, D = 48, F = 128;
  Scratch scratch(Device::cuda);
  const Tensor faults = scratch.shared(DType::i32, {1});
  *values<int32_t>(faults) = 0;
  const FfnWeights weights{on_device(Device::cuda, scratch, normal({F, D}, 1, 0.1f)),
                           on_device(Device::cuda, scratch, normal({F, D}, 2, 0.1f)),
                           on_device(Device::cuda, scratch, normal({D, F}, 3, 0.1f))};
  const auto sums_of_gate = [&](bool wants_up) {
    const auto sum_of = [&](int64_t rows, int64_t cols, bool is_wanted) {
      GradientSum into;
      into.scale_bits = 40;
      into.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
      if (!is_wanted) return into;
      const Tensor sum = scratch.of(DType::i64, {rows, cols});
      zero_now(sum);
      into.sum = sum;
      return into;
    };
    const FfnGradients gradients{sum_of(F, D, true), sum_of(F, D, wants_up), sum_of(D, F, true)};
    const Tensor y = scratch.of(DType::bf16, {R, D}), dx = scratch.of(DType::bf16, {R, D});
    const ConstTensor x = on_device(Device::cuda, scratch, normal({R, D}, 4));
    const FfnSaved saved = ffn_forward(*queue, scratch, {.options = of_experts, .weights = {weights},
                                                         .offsets = {0, R}, .x = x, .y = y});
    const FfnBackwardArgs args{.options = of_experts, .weights = {weights}, .offsets = {0, R}, .x = x,
                               .dy = on_device(Device::cuda, scratch, normal({R, D}, 5, 1e-4f)), .dx = dx};
    const FfnDeltas deltas = ffn_backward_inputs(*queue, scratch, args, saved);
    ffn_backward_weights(*queue, scratch, args, saved, deltas, {gradients});
    queue->wait();
    return doubles_of(gradients.gate.sum);
  };

  const Doubles beside = sums_of_gate(true);

  EXPECT_EQ(sums_of_gate(false), beside);
  EXPECT_NE(beside, Doubles(beside.size(), 0.0));
}

}  // namespace
}  // namespace troupe::tests
