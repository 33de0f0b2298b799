#include "kernels/cuda/gemm/gemm_fp8_wgmma.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ops/quantize.h"
#include "kernels/tensor.h"
#include "tests/kernels/cuda/device_array.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using kernels::cuda::k_chunks_of;
using testing::HasSubstr;

class GemmFp8Wgmma : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_hopper()) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

int64_t blocks(int64_t n) { return (n + 127) / 128; }

/// Codes and scales of a product, on the host.
struct Operands {
  int64_t M, N, K, stride, b_stride;
  std::vector<uint8_t> a, b;
  std::vector<float> a_scales, b_scales;
};

/// Integers of at most `most`, whose sums over 128 are exact whatever the accumulator's width, with
/// scales of full width, so that the chain over blocks rounds at every step.
Operands integers(int64_t M, int64_t N, int64_t K, int most = 2, int64_t groups = 1) {
  Operands x{M, N, K, (M + 3) / 4 * 4, (blocks(K) + 3) / 4 * 4, {}, {}, {}, {}};
  Numbers numbers(static_cast<uint64_t>(M * 31 + N * 7 + K));
  const auto code = [&] {
    return f32_to_f8_e4m3(static_cast<float>(numbers.integer(-most, most)));
  };
  x.a.resize(static_cast<size_t>(M * K));
  x.b.resize(static_cast<size_t>(groups * N * K));
  x.a_scales.resize(static_cast<size_t>(blocks(K) * x.stride));
  x.b_scales.resize(static_cast<size_t>(groups * blocks(N) * x.b_stride));
  std::generate(x.a.begin(), x.a.end(), code);
  std::generate(x.b.begin(), x.b.end(), code);
  for (auto* scales : {&x.a_scales, &x.b_scales}) {
    std::generate(scales->begin(), scales->end(),
                  [&] { return 0.5f + std::fabs(numbers.normal()); });
  }
  return x;
}

/// The written order: a chain of promotions in each chunk, then the chunks' sums.
float element(const Operands& x, int64_t m, int64_t n, int64_t group = 0) {
  const auto chunks = k_chunks_of(x.K);
  const uint8_t* a = x.a.data() + m * x.K;
  const uint8_t* b = x.b.data() + (group * x.N + n) * x.K;
  float sum = 0.0f, chunk = 0.0f;
  for (int64_t block = 0; block < blocks(x.K); ++block) {
    float partial = 0.0f;
    for (int64_t k = 128 * block; k < std::min(x.K, 128 * block + 128); ++k) {
      partial += f8_e4m3_to_f32(a[k]) * f8_e4m3_to_f32(b[k]);
    }
    const float a_scale = x.a_scales[static_cast<size_t>(block * x.stride + m)];
    const float b_scale =
        x.b_scales[static_cast<size_t>((group * blocks(x.N) + n / 128) * x.b_stride + block)];
    chunk = std::fma(partial, a_scale * b_scale, chunk);
    if ((block + 1) % chunks.blocks == 0 || block + 1 == blocks(x.K)) {
      sum = block < chunks.blocks ? chunk : sum + chunk;
      chunk = 0.0f;
    }
  }
  return sum;
}

struct OnDevice {
  explicit OnDevice(const Operands& x)
      : a(x.a),
        b(x.b),
        a_scales(x.a_scales),
        b_scales(x.b_scales),
        workspace(static_cast<size_t>(kernels::cuda::gemm_fp8_workspace_bytes(x.K)), 0xff) {}
  DeviceArray<uint8_t> a, b;
  DeviceArray<float> a_scales, b_scales;
  DeviceArray<uint8_t> workspace;
};

constexpr uint16_t poison = 0x7fc1;  // a NaN

std::vector<uint16_t> product(const Operands& x, const OnDevice& device, int64_t rows) {
  DeviceArray<uint16_t> c(static_cast<size_t>(rows * x.N), poison);
  kernels::cuda::gemm_fp8_wgmma({.a = device.a.data(),
                                 .a_scales = device.a_scales.data(),
                                 .a_scales_stride = x.stride,
                                 .b = device.b.data(),
                                 .b_scales = device.b_scales.data(),
                                 .b_scales_stride = x.b_stride,
                                 .c = c.data(),
                                 .c_stride = x.N,
                                 .M = rows,
                                 .N = x.N,
                                 .K = x.K,
                                 .workspace = device.workspace.data()},
                                nullptr);
  return c.values();
}

TEST_F(GemmFp8Wgmma, SumsInTheWrittenOrder) {
  for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{1, 8, 16},
                                                                   {3, 72, 144},
                                                                   {16, 64, 128},
                                                                   {40, 136, 2048},
                                                                   {77, 208, 4240},
                                                                   {100, 16904, 272},
                                                                   {128, 64, 8320},
                                                                   {129, 264, 272},
                                                                   {300, 368, 1536},
                                                                   {131, 200, 4240},
                                                                   {257, 8, 12416}}) {
    SCOPED_TRACE(std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K));
    const Operands x = integers(M, N, K);
    const OnDevice device(x);

    const std::vector<uint16_t> c = product(x, device, M);

    for (int64_t m = 0; m < M; ++m) {
      for (int64_t n = 0; n < N; ++n) {
        ASSERT_EQ(c[static_cast<size_t>(m * N + n)], f32_to_bf16(element(x, m, n)))
            << "row " << m << ", column " << n;
      }
    }
  }
}

/// Random codes of the whole range: the tensor cores round inside a block.
Operands random_codes(int64_t M, int64_t N, int64_t K) {
  Operands x = integers(M, N, K);
  Numbers numbers(5);
  for (auto* codes : {&x.a, &x.b}) {
    for (uint8_t& code : *codes) code = f32_to_f8_e4m3(40.0f * numbers.normal());
  }
  return x;
}

TEST_F(GemmFp8Wgmma, GivesARowItsBitsWhateverTheNumberOfRows) {
  for (const auto& [N, K] :
       std::vector<std::array<int64_t, 2>>{{2112, 7168}, {520, 1536}, {200, 9216}}) {
    const Operands x = random_codes(8192, N, K);
    const OnDevice device(x);
    const std::vector<uint16_t> all = product(x, device, 8192);
    EXPECT_EQ(product(x, device, 8192), all);
    for (const int64_t rows : {1,   2,   7,   8,   16,  17,  32,   33,   64,   65,
                               100, 128, 129, 200, 256, 257, 1000, 2048, 4096, 8191}) {
      const std::vector<uint16_t> some = product(x, device, rows);
      ASSERT_TRUE(std::equal(some.begin(), some.end(), all.begin()))
          << rows << " rows, N " << N << ", K " << K;
    }
  }
}

// Columns that alone fill the GPU take other tiles from 65 rows on.
TEST_F(GemmFp8Wgmma, GivesARowOfManyColumnsItsBitsToo) {
  const Operands x = random_codes(260, 16904, 400);
  const OnDevice device(x);
  const std::vector<uint16_t> all = product(x, device, 260);
  for (const int64_t rows : {1, 16, 33, 64, 65, 127, 128, 129}) {
    const std::vector<uint16_t> some = product(x, device, rows);
    ASSERT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << rows << " rows";
  }
}

TEST_F(GemmFp8Wgmma, ComesWithinTheFormatsErrorOfTheUnquantisedProduct) {
  const int64_t M = 192, N = 256, K = 4096;
  Operands x = integers(M, N, K);
  Numbers numbers(11);
  std::vector<float> a(x.a.size()), b(x.b.size());
  for (auto* values : {&a, &b}) {
    std::generate(values->begin(), values->end(), [&] { return numbers.normal(); });
  }
  for (int64_t block = 0; block < blocks(K); ++block) {
    for (int64_t m = 0; m < M; ++m) {
      float most = 1e-4f;
      for (int64_t k = 128 * block; k < 128 * block + 128; ++k) {
        most = std::max(most, std::fabs(a[static_cast<size_t>(m * K + k)]));
      }
      const float scale = most / 448.0f;
      x.a_scales[static_cast<size_t>(block * x.stride + m)] = scale;
      for (int64_t k = 128 * block; k < 128 * block + 128; ++k) {
        x.a[static_cast<size_t>(m * K + k)] =
            f32_to_f8_e4m3(a[static_cast<size_t>(m * K + k)] / scale);
      }
    }
  }
  for (size_t i = 0; i < b.size(); ++i) x.b[i] = f32_to_f8_e4m3(b[i] * (448.0f / 4.0f));
  std::fill(x.b_scales.begin(), x.b_scales.end(), 4.0f / 448.0f);

  const std::vector<uint16_t> c = product(x, OnDevice(x), M);

  double both = 0, squares = 0;
  for (int64_t m = 0; m < M; ++m) {
    for (int64_t n = 0; n < N; ++n) {
      double wanted = 0;
      for (int64_t k = 0; k < K; ++k) {
        wanted += double{a[static_cast<size_t>(m * K + k)]} * b[static_cast<size_t>(n * K + k)];
      }
      const double found = bf16_to_f32(c[static_cast<size_t>(m * N + n)]);
      both += wanted * found;
      squares += wanted * wanted + found * found;
    }
  }
  EXPECT_LT(1 - 2 * both / squares, 1e-3);
}

std::vector<uint16_t> grouped(const Operands& x, const OnDevice& device,
                              const std::vector<int32_t>& begin, const std::vector<int32_t>& end) {
  DeviceArray<uint16_t> c(static_cast<size_t>(x.M * x.N), poison);
  const DeviceArray<int32_t> begins(begin), ends(end);
  kernels::cuda::grouped_gemm_fp8_wgmma({.a = device.a.data(),
                                         .a_scales = device.a_scales.data(),
                                         .a_scales_stride = x.stride,
                                         .b = device.b.data(),
                                         .b_scales = device.b_scales.data(),
                                         .b_scales_stride = x.b_stride,
                                         .c = c.data(),
                                         .c_stride = x.N,
                                         .R = x.M,
                                         .N = x.N,
                                         .K = x.K,
                                         .groups = static_cast<int>(begin.size()),
                                         .row_begin = begins.data(),
                                         .row_end = ends.data(),
                                         .workspace = device.workspace.data()},
                                        nullptr);
  return c.values();
}

/// Every row of a group in the written order, every other row untouched.
void expect_groups(const Operands& x, const std::vector<uint16_t>& c,
                   const std::vector<int32_t>& begin, const std::vector<int32_t>& end) {
  for (int64_t m = 0; m < x.M; ++m) {
    int64_t group = -1;
    for (size_t g = 0; g < begin.size(); ++g) {
      if (begin[g] <= m && m < end[g]) group = static_cast<int64_t>(g);
    }
    for (int64_t n = 0; n < x.N; ++n) {
      const uint16_t wanted = group < 0 ? poison : f32_to_bf16(element(x, m, n, group));
      ASSERT_EQ(c[static_cast<size_t>(m * x.N + n)], wanted) << "row " << m << ", column " << n;
    }
  }
}

TEST_F(GemmFp8Wgmma, MultipliesContiguousGroupsOfAnySize) {
  const std::vector<int32_t> offsets{0, 0, 1, 131, 131, 400, 528, 545};
  const std::vector<int32_t> begin(offsets.begin(), offsets.end() - 1);
  const std::vector<int32_t> end(offsets.begin() + 1, offsets.end());
  for (const int64_t K : {144, 4240}) {
    const Operands x = integers(545, 136, K, 2, static_cast<int64_t>(begin.size()));

    const std::vector<uint16_t> c = grouped(x, OnDevice(x), begin, end);

    expect_groups(x, c, begin, end);
  }
}

TEST_F(GemmFp8Wgmma, LeavesRowsBehindAMaskAlone) {
  const int64_t capacity = 150;
  const std::vector<int32_t> counts{0, 150, 3, 128, 0, 64};
  std::vector<int32_t> begin, end;
  for (size_t g = 0; g < counts.size(); ++g) {
    begin.push_back(static_cast<int32_t>(g) * capacity);
    end.push_back(begin.back() + counts[g]);
  }
  Operands x = integers(capacity * 6, 256, 512, 2, 6);
  for (int64_t m = 0; m < x.M; ++m) {
    const size_t g = static_cast<size_t>(m / capacity);
    if (m < end[g]) continue;
    std::fill_n(x.a.begin() + m * x.K, x.K, uint8_t{0x7f});
    for (int64_t block = 0; block < blocks(x.K); ++block) {
      x.a_scales[static_cast<size_t>(block * x.stride + m)] =
          std::numeric_limits<float>::quiet_NaN();
    }
  }

  const std::vector<uint16_t> c = grouped(x, OnDevice(x), begin, end);

  expect_groups(x, c, begin, end);
}

TEST_F(GemmFp8Wgmma, SumsGradientsOfWeightsOverEachGroupsRows) {
  const std::vector<int32_t> offsets{0, 0, 3, 4, 4, 9};  // in blocks of 128 rows
  const int64_t M = 136, N = 202, R = 9 * 128, groups = 5;
  const Operands x = integers(M, 1, R), y = integers(N, 1, R);
  const DeviceArray<uint8_t> a(x.a), b(y.a);
  const DeviceArray<float> a_scales(x.a_scales), b_scales(y.a_scales);
  const DeviceArray<int32_t> block_offsets(offsets);
  DeviceArray<float> c(static_cast<size_t>(groups * M * N), NAN);

  kernels::cuda::grouped_weights_fp8_wgmma({.a = a.data(),
                                            .a_scales = a_scales.data(),
                                            .a_scales_stride = x.stride,
                                            .b = b.data(),
                                            .b_scales = b_scales.data(),
                                            .b_scales_stride = y.stride,
                                            .M = M,
                                            .N = N,
                                            .R = R,
                                            .groups = groups,
                                            .block_offsets = block_offsets.data(),
                                            .c = c.data(),
                                            .sums = nullptr,
                                            .parts = 1,
                                            .fixed = {}},
                                           nullptr);

  const std::vector<float> found = c.values();
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t m = 0; m < M; ++m) {
      for (int64_t n = 0; n < N; ++n) {
        float wanted = 0.0f;
        for (int64_t block = offsets[static_cast<size_t>(g)];
             block < offsets[static_cast<size_t>(g) + 1]; ++block) {
          float partial = 0.0f;
          for (int64_t k = 128 * block; k < 128 * block + 128; ++k) {
            partial += f8_e4m3_to_f32(x.a[static_cast<size_t>(m * R + k)]) *
                       f8_e4m3_to_f32(y.a[static_cast<size_t>(n * R + k)]);
          }
          wanted = std::fma(partial,
                            x.a_scales[static_cast<size_t>(block * x.stride + m)] *
                                y.a_scales[static_cast<size_t>(block * y.stride + n)],
                            wanted);
        }
        ASSERT_EQ(found[static_cast<size_t>((g * M + m) * N + n)], wanted)
            << "group " << g << ", row " << m << ", column " << n;
      }
    }
  }
}

TEST(GemmFp8WgmmaArguments, NamesASizeThatIsNotAsWanted) {
  const auto error = [](int64_t N, int64_t K, int64_t stride) {
    try {
      kernels::cuda::gemm_fp8_wgmma({.a = nullptr,
                                     .a_scales = nullptr,
                                     .a_scales_stride = stride,
                                     .b = nullptr,
                                     .b_scales = nullptr,
                                     .b_scales_stride = 64,
                                     .c = nullptr,
                                     .c_stride = (N + 7) / 8 * 8,
                                     .M = 10,
                                     .N = N,
                                     .K = K,
                                     .workspace = nullptr},
                                    nullptr);
    } catch (const KernelError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(error(12, 128, 12), HasSubstr("N is 12, wanted a positive multiple of 8"));
  EXPECT_THAT(error(16, 8, 12), HasSubstr("K is 8, wanted a positive multiple of 16"));
  EXPECT_THAT(error(16, 128, 10), HasSubstr("a_scales_stride is 10"));
  EXPECT_THAT(error(16, 128, 8), HasSubstr("a_scales_stride is 8, wanted at least M 10"));
  EXPECT_THAT(error(16, 8192, 12), HasSubstr("has no workspace"));
}

TEST(GemmFp8WgmmaChunks, AreAFunctionOfTheDepthAlone) {
  EXPECT_EQ(k_chunks_of(16).count, 1);
  EXPECT_EQ(k_chunks_of(4096).count, 1);
  EXPECT_EQ(k_chunks_of(4096).blocks, 32);
  EXPECT_EQ(k_chunks_of(7168).count, 2);
  EXPECT_EQ(k_chunks_of(7168).blocks, 28);
  EXPECT_EQ(k_chunks_of(4240).blocks, 17);
  EXPECT_EQ(k_chunks_of(16384).count, 4);
}

}  // namespace
}  // namespace troupe::tests
