// Experts on tensor cores. Their sums have other orders than the CPU's, and numbers are rounded at
// other places, so results are near. How near a recipe may be is said by what it loses on the CPU:
// both are compared with FP32.
#include "kernels/layers/moe/expert.h"

#include <gtest/gtest.h>

#include "kernels/layers/moe/dispatch.h"
#include "kernels/ops/permute.h"
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
  /// `from_table`: rows are named by an index, half as many as there are rows.
  static Results run(const Shape& s, Device device, Precision precision, bool recompute = false,
                     bool from_table = false, bool has_codes = false) {
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
    const int64_t T = (R + 1) / 2;
    const Tensor index = scratch.i32({R});
    for (int64_t r = 0; r < R; ++r) values<int32_t>(index)[r] = static_cast<int32_t>(r * 7 % T);
    const auto dispatched = [&](Dispatched what, const Buffer& numbers) {
      const ConstTensor table =
          round_dispatched(queue, scratch, precision, what, on_device(device, scratch, numbers));
      if (from_table) return table;
      const Tensor rows = scratch.of(table.dtype, {R, s.D});
      gather_rows(queue, {.x = table, .index = index, .y = rows});
      return ConstTensor(rows);
    };
    const ExpertsArgs args{
        .options = {.precision = precision, .is_moe = true, .recompute = recompute},
        .weights = weights,
        .offsets = s.offsets,
        .x = dispatched(Dispatched::activations, normal({T, s.D}, 1)),
        .index = from_table ? ConstTensor(index) : ConstTensor{},
        .codes = has_codes ? expert_codes(queue, {.precision = precision, .is_moe = true}, weights) : nullptr};
    ExpertsSaved saved = experts_forward(queue, scratch, args);
    queue.wait();
    Results out;
    out.y = doubles_of(saved.y);
    const Tensor dx = scratch.f32({R, s.D}), dweights = scratch.f32({R});
    experts_backward_inputs(queue, scratch, args, saved,
                            {.dy = dispatched(Dispatched::gradients, normal({T, s.D}, 2, 1e-4f)),
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

constexpr Precision precisions[] = {Precision::bf16, Precision::fp8, Precision::fp8_unpromoted};
const std::vector<Shape> shapes{{256, 128, {0, 70, 70, 200}}, {48, 40, {0, 70, 70, 200}}};

TEST_F(ExpertsSm90, LoseNoMoreThanTheCpuDoesInTheSameRecipe) {
  for (const Shape& s : shapes) {
    const Results exact = run(s, Device::cpu, Precision::fp32);
    for (const Precision precision : precisions) {
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
    for (const Precision precision : precisions) {
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

TEST_F(ExpertsSm90, GatherTheRowsOfATableThemselvesToTheSameBits) {
  for (const Shape& s : {shapes[0], shapes[1], Shape{256, 128, {0, 0, 300, 301}}, Shape{256, 128, {0, 0, 0, 0}}}) {
    for (const Precision precision : precisions) {
      SCOPED_TRACE(std::string(to_string(precision)) + ", D " + std::to_string(s.D));
      const Results wanted = run(s, Device::cuda, precision);
      for (const bool has_codes : {false, true}) {
        const Results found = run(s, Device::cuda, precision, false, true, has_codes);
        EXPECT_EQ(found.y, wanted.y) << has_codes;
        EXPECT_EQ(found.dx, wanted.dx) << has_codes;
        EXPECT_EQ(found.dweights, wanted.dweights) << has_codes;
        EXPECT_EQ(found.gradients, wanted.gradients) << has_codes;
      }
    }
  }
}

TEST_F(ExpertsSm90, WithoutPromotionEveryProductHasOtherBits) {
  for (const bool from_table : {false, true}) {
    const Results promoted = run(shapes[0], Device::cuda, Precision::fp8, false, from_table);

    const Results found = run(shapes[0], Device::cuda, Precision::fp8_unpromoted, false, from_table);

    EXPECT_NE(found.y, promoted.y);
    EXPECT_NE(found.dx, promoted.dx);
    for (const size_t of_130_rows : {6, 7, 8}) {
      EXPECT_NE(found.gradients[of_130_rows], promoted.gradients[of_130_rows]) << of_130_rows;
    }
  }
}

// They may be none: of a part whose tokens chose others.
TEST_F(ExpertsSm90, RowsThatTravelledAreBf16) {
  ThreadPool pool(1);
  Queue queue(pool, Device::cuda, Arithmetic::sm_90a);
  Scratch scratch(Device::cuda);
  for (const int64_t rows : {0, 3}) {
    const std::vector<Tensor> packed =
        pack_dispatched(queue, scratch, Precision::fp8, Dispatched::gradients, scratch.f32({rows, 256}));

    const Tensor x = unpack_dispatched(queue, scratch, Precision::fp8, {packed[0], packed[1]});

    EXPECT_EQ(x.dtype, DType::bf16) << rows;
    queue.wait();
  }
}

}  // namespace
}  // namespace troupe::tests
