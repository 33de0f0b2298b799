// Experts on tensor cores. Their sums have other orders than the CPU's, and numbers are rounded at
// other places, so results are near. How near a recipe may be is said by what it loses on the CPU:
// both are compared with FP32.
#include "kernels/layers/moe/expert.h"

#include <gtest/gtest.h>

#include "kernels/layers/moe/dispatch.h"
#include "tests/kernels/layers/layer_fixtures.h"
#include "tests/kernels/layers/on_device.h"

namespace troupe::tests {
namespace {

using namespace kernels;

/// Rows of three experts, of which the second has none.
struct Shape {
  int64_t D, F;
  std::vector<int64_t> offsets;
};

struct Results {
  Doubles y, dx, dweights;
  std::vector<Doubles> gradients;
};

class ExpertsSm90 : public LayerOnGpuTest {
 protected:
  static Results run(const Shape& s, Device device, Precision precision, bool recompute = false) {
    ThreadPool pool(2);
    Queue queue(pool, device, device == Device::cuda ? Arithmetic::sm_90a : Arithmetic::cpu);
    Scratch scratch(device);
    const int64_t R = s.offsets.back();
    const Tensor faults = scratch.shared(DType::i32, {1});
    *values<int32_t>(faults) = 0;
    std::vector<FfnWeights> weights;
    std::vector<FfnGradients> gradients;
    std::vector<Tensor> sums;
    const auto add = [&](int64_t rows, int64_t cols, uint32_t seed, ConstTensor& weight,
                         GradientSum& gradient) {
      weight = on_device(device, scratch, normal({rows, cols}, seed, 0.1f));
      const Tensor sum = scratch.of(DType::i64, {rows, cols});
      zero_now(sum);
      gradient.sum = sum;
      gradient.scale_bits = 40;
      gradient.faults = reinterpret_cast<std::atomic<uint32_t>*>(faults.data);
      sums.push_back(sum);
    };
    for (uint32_t e = 0; e + 1 < s.offsets.size(); ++e) {
      FfnWeights& w = weights.emplace_back();
      FfnGradients& g = gradients.emplace_back();
      add(s.F, s.D, 60 + 3 * e, w.gate, g.gate);
      add(s.F, s.D, 61 + 3 * e, w.up, g.up);
      add(s.D, s.F, 62 + 3 * e, w.down, g.down);
    }
    const ExpertsArgs args{
        .options = {.precision = precision, .is_moe = true, .recompute = recompute},
        .weights = weights,
        .offsets = s.offsets,
        .x = round_dispatched(queue, scratch, precision, Dispatched::activations,
                              on_device(device, scratch, normal({R, s.D}, 1)))};
    ExpertsSaved saved = experts_forward(queue, scratch, args);
    queue.wait();
    Results out;
    out.y = doubles_of(saved.y);
    const Tensor dx = scratch.f32({R, s.D}), dweights = scratch.f32({R});
    experts_backward_inputs(queue, scratch, args, saved,
                            {.dy = round_dispatched(queue, scratch, precision,
                                                    Dispatched::gradients,
                                                    on_device(device, scratch, normal({R, s.D}, 2, 1e-4f))),
                             .weights = on_device(device, scratch, normal({R}, 3)),
                             .dx = dx,
                             .dweights = dweights});
    experts_backward_weights(queue, scratch, args, saved, gradients);
    queue.wait();
    out.dx = doubles_of(dx);
    out.dweights = doubles_of(dweights);
    for (const Tensor& sum : sums) out.gradients.push_back(doubles_of(sum));
    return out;
  }
};

const std::vector<Shape> shapes{{256, 128, {0, 70, 70, 200}}, {48, 40, {0, 70, 70, 200}}};

TEST_F(ExpertsSm90, LoseNoMoreThanTheCpuDoesInTheSameRecipe) {
  for (const Shape& s : shapes) {
    const Results exact = run(s, Device::cpu, Precision::fp32);
    for (const Precision precision : {Precision::bf16, Precision::fp8}) {
      SCOPED_TRACE(std::string(to_string(precision)) + ", D " + std::to_string(s.D));
      const Results cpu = run(s, Device::cpu, precision), ours = run(s, Device::cuda, precision);
      expect_like_loss(ours.y, cpu.y, exact.y, "y");
      expect_like_loss(ours.dx, cpu.dx, exact.dx, "dx");
      expect_like_loss(ours.dweights, cpu.dweights, exact.dweights, "dweights");
      for (size_t i = 0; i < cpu.gradients.size(); ++i) {
        if (i / 3 == 1) {
          EXPECT_EQ(ours.gradients[i], Doubles(ours.gradients[i].size(), 0.0));
        } else {
          expect_like_loss(ours.gradients[i], cpu.gradients[i], exact.gradients[i], "a gradient");
        }
      }
    }
  }
}

TEST_F(ExpertsSm90, ComputeTheSameBitsAgain) {
  for (const Shape& s : shapes) {
    for (const Precision precision : {Precision::bf16, Precision::fp8}) {
      const Results once = run(s, Device::cuda, precision);
      for (const bool recompute : {false, true}) {
        const Results again = run(s, Device::cuda, precision, recompute);
        EXPECT_EQ(again.y, once.y);
        EXPECT_EQ(again.dx, once.dx);
        EXPECT_EQ(again.dweights, once.dweights);
        EXPECT_EQ(again.gradients, once.gradients);
      }
    }
  }
}

}  // namespace
}  // namespace troupe::tests
