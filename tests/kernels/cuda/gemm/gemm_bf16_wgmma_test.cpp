#include "kernels/cuda/gemm/gemm_bf16_wgmma.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "kernels/ops/quantize.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/device_array.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using kernels::cuda::GemmBf16WgmmaArgs;

class GemmBf16Wgmma : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

struct Way {
  bool transpose_a, transpose_b;
};
const std::vector<Way> ways{{false, true}, {false, false}, {true, false}};

/// op(a) and op(b) as the product has them, and as they are stored.
struct Operands {
  int64_t M, N, K;
  Way way;
  std::vector<float> a, b;
  std::vector<uint16_t> stored_a, stored_b;
};

Operands make(int64_t M, int64_t N, int64_t K, Way way, bool integers) {
  Operands x{M, N, K, way, {}, {}, {}, {}};
  Numbers numbers(static_cast<uint64_t>(M + 3 * N + 5 * K));
  const auto value = [&] {
    const float v = integers ? static_cast<float>(numbers.integer(-4, 4)) : numbers.normal();
    return bf16_to_f32(f32_to_bf16(v));
  };
  x.a.resize(static_cast<size_t>(M * K));
  x.b.resize(static_cast<size_t>(K * N));
  x.stored_a.resize(x.a.size());
  x.stored_b.resize(x.b.size());
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t k = 0; k < K; ++k) {
      const float v = value();
      x.a[static_cast<size_t>(m * K + k)] = v;
      x.stored_a[static_cast<size_t>(way.transpose_a ? k * M + m : m * K + k)] = f32_to_bf16(v);
    }
  }
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t n = 0; n < N; ++n) {
      const float v = value();
      x.b[static_cast<size_t>(k * N + n)] = v;
      x.stored_b[static_cast<size_t>(way.transpose_b ? n * K + k : k * N + n)] = f32_to_bf16(v);
    }
  }
  return x;
}

std::vector<float> product(const Operands& x, int64_t rows, bool f32) {
  const DeviceArray<uint16_t> a(x.stored_a), b(x.stored_b);
  DeviceArray<uint16_t> c(static_cast<size_t>(rows * x.N), 0x7fc1);
  DeviceArray<float> c_f32(static_cast<size_t>(rows * x.N), NAN);
  kernels::cuda::gemm_bf16_wgmma({.a = a.data(),
                                  .b = b.data(),
                                  .transpose_a = x.way.transpose_a,
                                  .transpose_b = x.way.transpose_b,
                                  .c = f32 ? nullptr : c.data(),
                                  .c_f32 = f32 ? c_f32.data() : nullptr,
                                  .M = rows,
                                  .N = x.N,
                                  .K = x.K},
                                 nullptr);
  if (f32) return c_f32.values();
  std::vector<float> out;
  for (const uint16_t bits : c.values()) out.push_back(bf16_to_f32(bits));
  return out;
}

TEST_F(GemmBf16Wgmma, IsExactForSmallIntegersInEveryWay) {
  for (const Way way : ways) {
    for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{
             {8, 8, 8}, {136, 72, 40}, {264, 520, 200}, {80, 264, 1032}}) {
      for (const bool f32 : {true, false}) {
        if (way.transpose_a && !f32) continue;  // gradients of weights are f32
        SCOPED_TRACE(std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K) +
                     (way.transpose_a ? " a transposed" : "") +
                     (way.transpose_b ? " b transposed" : ""));
        const Operands x = make(M, N, K, way, true);

        const std::vector<float> c = product(x, M, f32);

        for (int64_t m = 0; m < M; ++m) {
          for (int64_t n = 0; n < N; ++n) {
            float wanted = 0;
            for (int64_t k = 0; k < K; ++k) {
              wanted += x.a[static_cast<size_t>(m * K + k)] * x.b[static_cast<size_t>(k * N + n)];
            }
            if (!f32) wanted = bf16_to_f32(f32_to_bf16(wanted));
            ASSERT_EQ(c[static_cast<size_t>(m * N + n)], wanted) << "row " << m << ", column " << n;
          }
        }
      }
    }
  }
}

TEST_F(GemmBf16Wgmma, TakesAnyNumberOfRows) {
  for (const Way way : {ways[0], ways[1]}) {
    const Operands x = make(4096, 264, 1536, way, false);
    const std::vector<float> all = product(x, 4096, false);
    EXPECT_EQ(product(x, 4096, false), all);
    for (const int64_t rows : {1, 3, 64, 127, 128, 129, 255, 257, 1000, 2048}) {
      const std::vector<float> some = product(x, rows, false);
      ASSERT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << rows << " rows";
    }
  }
}

TEST_F(GemmBf16Wgmma, ErrsNoMoreThanItsFormats) {
  for (const Way way : ways) {
    const Operands x = make(128, 136, 4096, way, false);

    const std::vector<float> c = product(x, x.M, true);

    for (int64_t m = 0; m < x.M; ++m) {
      for (int64_t n = 0; n < x.N; ++n) {
        double wanted = 0, size = 0;
        for (int64_t k = 0; k < x.K; ++k) {
          const double term =
              double{x.a[static_cast<size_t>(m * x.K + k)]} * x.b[static_cast<size_t>(k * x.N + n)];
          wanted += term;
          size += std::fabs(term);
        }
        ASSERT_NEAR(c[static_cast<size_t>(m * x.N + n)], wanted, size * 1e-5);
      }
    }
  }
}

TEST_F(GemmBf16Wgmma, ComputesInAThreadThatHasCalledNothingBefore) {
  const DeviceArray<uint16_t> a(std::vector<uint16_t>(64 * 64, 0)), b(a.values());
  DeviceArray<uint16_t> c(64 * 64, 1);
  std::string error;
  std::thread([&] {
    try {
      kernels::cuda::gemm_bf16_wgmma({.a = a.data(),
                                      .b = b.data(),
                                      .transpose_a = false,
                                      .transpose_b = true,
                                      .c = c.data(),
                                      .c_f32 = nullptr,
                                      .M = 64,
                                      .N = 64,
                                      .K = 64},
                                     nullptr);
    } catch (const KernelError& caught) {
      error = caught.what();
    }
  }).join();
  EXPECT_EQ(error, "");
  EXPECT_EQ(c.values(), a.values());
}

TEST(GemmBf16WgmmaArguments, NamesASizeThatIsNotAsWanted) {
  const auto error = [](GemmBf16WgmmaArgs args) {
    try {
      kernels::cuda::gemm_bf16_wgmma(args, nullptr);
    } catch (const KernelError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  GemmBf16WgmmaArgs args{.a = nullptr,
                         .b = nullptr,
                         .transpose_a = false,
                         .transpose_b = true,
                         .c = nullptr,
                         .c_f32 = nullptr,
                         .M = 3,
                         .N = 12,
                         .K = 64};
  EXPECT_EQ(error(args), "gemm_bf16_wgmma N is 12, wanted a positive multiple of 8");
  args.N = 16;
  args.K = 60;
  EXPECT_EQ(error(args), "gemm_bf16_wgmma K is 60, wanted a positive multiple of 8");
  args.transpose_a = true;
  EXPECT_EQ(error(args), "gemm_bf16_wgmma M (a transposed) is 3, wanted a positive multiple of 8");
}

}  // namespace
}  // namespace troupe::tests
