#include "kernels/cuda/sm90/norm_sm90.h"

#include <thread>

#include "kernels/ops/permute.h"
#include "tests/kernels/cuda/rows_in_bf16.h"

namespace troupe::tests {
namespace {

using namespace kernels;

class NormSm90 : public Sm90Test {
 protected:
  struct Results {
    std::vector<float> y, dx, dweight;
  };
  Results run(const Buffer& x, const Buffer& weight, const Buffer& dy, DType type) {
    const int64_t T = x.view.rows(), D = x.view.cols();
    const Tensor on = on_gpu(x, type), on_dy = on_gpu(dy, type), w = on_gpu(weight, DType::f32);
    const Tensor y = scratch.of(type, {T, D}), dx = scratch.of(type, {T, D});
    const Tensor inverse = scratch.f32({T}), dweight = scratch.f32({D});
    rms_norm(*queue, {.x = on, .weight = w, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
    rms_norm_backward_inputs(*queue,
                             {.dy = on_dy, .x = on, .weight = w, .inverse_rms = inverse, .dx = dx});
    const Tensor beside = scratch.f32({T, D}), both = scratch.f32({T, D}), alone = scratch.f32({T, D});
    copy(*queue, {.x = on_gpu(dy, DType::f32), .y = beside});
    rms_norm_backward_inputs(*queue, {.dy = on_dy, .x = on, .weight = w, .inverse_rms = inverse, .dx = alone});
    rms_norm_backward_inputs(*queue, {.dy = on_dy, .x = on, .weight = w, .inverse_rms = inverse,
                                      .residual = beside, .dx = both});
    add(*queue, {.a = beside, .b = alone, .y = alone});
    EXPECT_EQ(numbers(both), numbers(alone)) << "with what passes beside the norm";
    rms_norm_backward_weights(*queue,
                              {.dy = on_dy, .x = on, .inverse_rms = inverse, .dweight = dweight});
    return {numbers(y), numbers(dx), numbers(dweight)};
  }
};

/// The formulas in f64.
void expect_formulas(const Buffer& x, const Buffer& weight, const Buffer& dy,
                     const std::vector<float>& y, const std::vector<float>& dx,
                     const std::vector<float>& dweight, double tolerance) {
  const int64_t T = x.view.rows(), D = x.view.cols();
  const float *xs = values<float>(x.view), *w = values<float>(weight.view),
              *dys = values<float>(dy.view);
  std::vector<double> wanted_weight(static_cast<size_t>(D)), size(static_cast<size_t>(D));
  for (int64_t t = 0; t < T; ++t) {
    double square = 0, product = 0;
    for (int64_t i = 0; i < D; ++i) {
      square += double{xs[t * D + i]} * xs[t * D + i];
      product += double{dys[t * D + i]} * w[i] * xs[t * D + i];
    }
    const double inverse = 1.0 / std::sqrt(square / static_cast<double>(D) + 1e-6);
    for (int64_t i = 0; i < D; ++i) {
      const auto at = static_cast<size_t>(t * D + i);
      const double x_hat = xs[t * D + i] * inverse;
      ASSERT_NEAR(y[at], x_hat * w[i], tolerance * (std::fabs(x_hat * w[i]) + 1e-3)) << t;
      const double wanted =
          inverse * (double{dys[t * D + i]} * w[i] -
                     xs[t * D + i] * inverse * inverse * product / static_cast<double>(D));
      ASSERT_NEAR(dx[at], wanted, tolerance * (std::fabs(wanted) + inverse)) << t;
      wanted_weight[static_cast<size_t>(i)] += dys[t * D + i] * x_hat;
      size[static_cast<size_t>(i)] += std::fabs(dys[t * D + i] * x_hat);
    }
  }
  for (size_t i = 0; i < wanted_weight.size(); ++i) {
    ASSERT_NEAR(dweight[i], wanted_weight[i], 1e-5 * size[i] + 1e-30) << i;
  }
}

TEST_F(NormSm90, IsTheFormulaForEveryTypeAndWidth) {
  for (const auto& [T, D] :
       {std::array<int64_t, 2>{1, 1}, {3, 15}, {70, 264}, {131, 768}, {5, 2048}, {3, 2500}, {9, 7168}}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      const Buffer weight = normal({D}, 2);
      Buffer x = normal({T, D}, 1), dy = normal({T, D}, 3);
      if (type == DType::bf16) {
        x = rounded(x);
        dy = rounded(dy);
      }

      const Results found = run(x, weight, dy, type);

      expect_formulas(x, weight, dy, found.y, found.dx, found.dweight,
                      type == DType::bf16 ? 0.005 : 1e-5);
    }
  }
}

// dy in two parts of bf16 is their sum in f32, for every width.
TEST_F(NormSm90, AddsTheSecondPartOfAGradientAsItReads) {
  for (const auto& [T, D] : {std::array<int64_t, 2>{3, 15}, {70, 264}, {131, 768}, {5, 2048}, {5, 2500}, {3, 7168}}) {
    const Tensor x = on_gpu(normal({T, D}, 1), DType::f32), w = on_gpu(normal({D}, 2), DType::f32);
    const Buffer first_part = rounded(normal({T, D}, 3)), second_part = rounded(normal({T, D}, 4));
    const Buffer whole = allocate_f32({T, D});
    for (int64_t i = 0; i < T * D; ++i) {
      values<float>(whole.view)[i] = values<float>(first_part.view)[i] + values<float>(second_part.view)[i];
    }
    const Tensor first = on_gpu(first_part, DType::bf16), second = on_gpu(second_part, DType::bf16);
    const Tensor y = scratch.f32({T, D}), inverse = scratch.f32({T}), sum = on_gpu(whole, DType::f32);
    rms_norm(*queue, {.x = x, .weight = w, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
    const auto backward = [&](const Tensor& dy, const Tensor& more) {
      const Tensor dx = scratch.f32({T, D}), dweight = scratch.f32({D});
      rms_norm_backward_inputs(*queue, {.dy = dy, .x = x, .weight = w, .inverse_rms = inverse,
                                        .dy_more = more, .dx = dx});
      rms_norm_backward_weights(*queue, {.dy = dy, .x = x, .inverse_rms = inverse, .dy_more = more,
                                         .dweight = dweight});
      return std::pair(numbers(dx), numbers(dweight));
    };

    EXPECT_EQ(backward(first, second), backward(sum, {}));
  }
}

// Rows that come by bulk copies and stay in registers, more of them than all blocks have warps for; and rows that do
// not, for their place in memory.
TEST_F(NormSm90, GivesARowItsBitsHoweverItIsRead) {
  for (const auto& [T, D] : {std::array<int64_t, 2>{1, 8}, {5000, 264}, {3000, 2048}, {2900, 4096}, {2000, 7168}, {40, 7424}}) {
    const Buffer x = normal({T, D}, 1);
    const Tensor weight = on_gpu(normal({D}, 2), DType::f32);
    for (const DType type : {DType::f32, DType::bf16}) {
      const Tensor in_eights = on_gpu(x, type), apart = scratch.of(type, {T, D + 4});
      const Tensor beside = columns(apart, 4, D);
      copy(*queue, {.x = in_eights, .y = beside});
      const auto norm_of = [&](const Tensor& rows) {
        const Tensor y = scratch.of(DType::bf16, {T, D}), inverse = scratch.f32({T});
        rms_norm(*queue, {.x = rows, .weight = weight, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
        return std::pair(numbers(y), numbers(inverse));
      };

      EXPECT_TRUE(norm_of(in_eights) == norm_of(beside)) << T << " x " << D;
    }
  }
}

// The same kernel, with more and with less shared memory: what one thread allows it, it allows to all.
TEST_F(NormSm90, IsLaunchedByThreadsWithRowsOfTheirOwnWidth) {
  std::vector<std::thread> threads;
  for (const int64_t D : {1032, 2048}) {
    const Tensor x = on_gpu(normal({8, D}, 1), DType::f32), weight = on_gpu(normal({D}, 2), DType::f32);
    const Tensor y = scratch.f32({8, D}), inverse = scratch.f32({8});
    threads.emplace_back([=, this] {
      Queue its(pool_, Device::cuda, Arithmetic::sm_90a);
      for (int i = 0; i < 2000; ++i) {
        rms_norm(its, {.x = x, .weight = weight, .eps = 1e-6f, .y = y, .inverse_rms = inverse});
      }
      EXPECT_NO_THROW(its.wait()) << D;
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Law 1.
TEST_F(NormSm90, GivesARowItsBitsWhateverTheNumberOfRows) {
  const Buffer x = normal({300, 512}, 1), weight = normal({512}, 2), dy = normal({300, 512}, 3);
  const Results all = run(x, weight, dy, DType::f32);

  for (const int64_t T : {1, 5, 128, 299}) {
    Buffer some = x, some_dy = dy;
    some.view = row_range(x.view, 0, T);
    some_dy.view = row_range(dy.view, 0, T);
    const Results found = run(some, weight, some_dy, DType::f32);
    ASSERT_TRUE(std::equal(found.y.begin(), found.y.end(), all.y.begin())) << T;
    ASSERT_TRUE(std::equal(found.dx.begin(), found.dx.end(), all.dx.begin())) << T;
  }
}

}  // namespace
}  // namespace troupe::tests
