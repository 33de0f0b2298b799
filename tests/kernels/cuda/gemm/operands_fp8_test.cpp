// Operands of FP8 products. What is quantized where it is gathered or computed has the bits of the
// operators one after the other.
#include "kernels/cuda/gemm/operands_fp8.h"

#include <gmock/gmock.h>

#include "kernels/cuda/sm90/weigh_rows.h"
#include "kernels/ops/permute.h"
#include "kernels/ops/rounding.h"
#include "kernels/ops/swiglu.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/rows_in_bf16.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace kernels;
using cuda::Fp8Columns;
using cuda::Fp8Groups;
using cuda::Fp8Rows;

constexpr cuda::Fp8Scaling of_activations{false, 1e-4f}, of_gradients{false, 0x1p-100f},
    powers{true, 1e-4f}, small_powers{true, 0x1p-100f};

/// Numbers of many magnitudes that BF16 has; a row of zeros, an infinity, a NaN.
Buffer numbers_of(int64_t rows, int64_t cols, uint64_t seed, float size = 1.0f) {
  const Buffer out = allocate_f32({rows, cols});
  Numbers numbers(seed);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float magnitude = std::ldexp(size, numbers.integer(-9, 5));
    float x = magnitude * numbers.normal();
    if (i / cols == 5) x = 0.0f;
    if (i == 9 * cols + 3) x = INFINITY;
    if (i == 11 * cols + 7) x = NAN;
    values<float>(out.view)[i] = bf16_to_f32(f32_to_bf16(x));
  }
  return out;
}

/// Groups of rows with tiles that are whole, that are not, and a group without rows.
const std::vector<std::vector<int64_t>> groupings{{0, 128, 256}, {0, 3, 3, 131, 300}, {0, 37}};

class OperandsFp8 : public Sm90Test {
 protected:
  std::vector<uint8_t> bytes(const Tensor& t, int64_t cols) {
    queue->wait();
    const Buffer host = on_host(t);
    std::vector<uint8_t> out;
    const int64_t size = size_of(t.dtype);
    for (int64_t r = 0; r < t.rows(); ++r) {
      const auto* const row = values<uint8_t>(host.view) + r * t.cols() * size;
      out.insert(out.end(), row, row + cols * size);
    }
    return out;
  }
  void expect_equal(const Fp8Rows& found, const Fp8Rows& wanted) {
    const int64_t R = wanted.codes.rows();
    EXPECT_EQ(bytes(found.codes, found.codes.cols()), bytes(wanted.codes, wanted.codes.cols()));
    EXPECT_EQ(bytes(found.scales, R), bytes(wanted.scales, R)) << "scales";
  }
  /// expect_equal of many rows: names none of their bytes.
  void expect_same(const Fp8Rows& found, const Fp8Rows& wanted) {
    const int64_t R = wanted.codes.rows();
    EXPECT_TRUE(bytes(found.codes, found.codes.cols()) == bytes(wanted.codes, wanted.codes.cols()));
    EXPECT_TRUE(bytes(found.scales, R) == bytes(wanted.scales, R)) << "scales";
  }
  void expect_equal(const Fp8Columns& found, const Fp8Columns& wanted) {
    EXPECT_EQ(bytes(found.codes, found.codes.cols()), bytes(wanted.codes, wanted.codes.cols()));
    EXPECT_EQ(bytes(found.scales, found.scales.cols()), bytes(wanted.scales, wanted.scales.cols()))
        << "scales";
  }
  Fp8Groups groups_of(const std::vector<int64_t>& offsets) {
    return cuda::fp8_groups(*queue, scratch, offsets);
  }
  Tensor index_of(int64_t R, int64_t T) {
    Numbers numbers(77);
    const Tensor near = scratch.of(DType::i32, {R});
    const Buffer host = allocate(DType::i32, {R});
    for (int64_t r = 0; r < R; ++r) {
      values<int32_t>(host.view)[r] = numbers.integer(0, static_cast<int>(T) - 1);
    }
    copy_now(host, near);
    return near;
  }
  Tensor gathered(const Tensor& table, const Tensor& index) {
    const Tensor rows = scratch.of(DType::bf16, {index.count(), table.cols()});
    gather_rows(*queue, {.x = table, .index = index, .y = rows});
    return rows;
  }
};

TEST_F(OperandsFp8, KeepRowsInOneByteANumber) {
  const Buffer x = rounded(normal({70, 272}, 3));
  const Tensor y = scratch.of(DType::bf16, {70, 272});

  const cuda::Fp8Rows kept =
      cuda::quantize_rows(*queue, scratch, on_gpu(x, DType::bf16), of_activations);
  cuda::read_fp8(*queue, kept, y);

  Queue cpu(pool_);
  const Buffer wanted = allocate_f32({70, 272});
  round_tiles(cpu, {.x = x, .format = TileFormat::e4m3, .tile_rows = 1, .tile_cols = 128,
                          .power_of_two = false, .y = wanted});
  cpu.wait();
  EXPECT_EQ(kept.codes.dtype, DType::f8_e4m3);
  EXPECT_EQ(numbers(y), rounded(to_vector(wanted)));
}

TEST_F(OperandsFp8, QuantizeBothWaysAsEachAlone) {
  for (const auto& offsets : groupings) {
    for (const float size : {1.0f, 1e-25f}) {  // numbers that are lifted before they are divided
      const Tensor x = on_gpu(numbers_of(offsets.back(), 272, 1, size), DType::bf16);
      const Fp8Groups groups = groups_of(offsets);

      const auto [rows, columns] =
          cuda::quantize_both(*queue, scratch, scratch, x, of_gradients, groups);

      expect_equal(rows, cuda::quantize_rows(*queue, scratch, x, of_gradients));
      expect_equal(columns, cuda::quantize_columns(*queue, scratch, x, of_gradients, groups));
    }
  }
}

TEST_F(OperandsFp8, GatherCodesAsTheyGatherRows) {
  for (const int64_t D : {16, 144, 256, 2048}) {
    const Tensor table = on_gpu(numbers_of(40, D, 1), DType::bf16), index = index_of(77, 40);
    const Fp8Rows of = cuda::quantize_rows(*queue, scratch, table, powers);

    expect_equal(cuda::gather_codes(*queue, scratch, of, index),
                 cuda::quantize_rows(*queue, scratch, gathered(table, index), powers));
  }
}

TEST_F(OperandsFp8, QuantizeColumnsOfATableAsOfItsRows) {
  for (const auto& offsets : groupings) {
    for (const int64_t D : {16, 144, 256}) {
      const Tensor table = on_gpu(numbers_of(40, D, 1), DType::bf16);
      const Tensor index = index_of(offsets.back(), 40);
      const Fp8Groups groups = groups_of(offsets);

      expect_equal(cuda::quantize_columns(*queue, scratch, {table, index, {}}, powers, groups),
                   cuda::quantize_columns(*queue, scratch, gathered(table, index), powers, groups));
    }
  }
}

TEST_F(OperandsFp8, QuantizeWhatIsWeighedAsWeighedRows) {
  for (const auto& offsets : groupings) {
    const int64_t R = offsets.back(), D = 272;
    const Tensor table = on_gpu(numbers_of(40, D, 1, 1e-6f), DType::bf16);
    const Tensor index = index_of(R, 40), rows = gathered(table, index);
    const Tensor weights = on_gpu(normal({R}, 3), DType::f32);
    const Tensor weighted = scratch.of(DType::bf16, {R, D}), dweights = scratch.f32({R});
    cuda::weigh_rows(*queue, {.dy = rows, .index = {}, .y = rows, .weights = weights,
                              .dy_weighted = weighted, .dweights = dweights});
    const Fp8Groups groups = groups_of(offsets);

    const auto [codes, columns] = cuda::quantize_weighed(*queue, scratch, scratch,
                                                         {table, index, weights}, small_powers, groups);

    expect_equal(codes, cuda::quantize_rows(*queue, scratch, weighted, small_powers));
    expect_equal(columns, cuda::quantize_columns(*queue, scratch, weighted, small_powers, groups));
  }
}

TEST_F(OperandsFp8, KeepAndActivateGateAndUpAsSwigluDoes) {
  for (const int64_t R : {1, 128, 300}) {
    const int64_t F = 256;
    const Tensor both = on_gpu(numbers_of(R, 2 * F, 4), DType::bf16);
    const Tensor activated = scratch.of(DType::bf16, {R, F});
    swiglu(*queue, {.gate = columns(both, 0, F), .up = columns(both, F, F), .y = activated});

    const cuda::SwigluCodes codes =
        cuda::swiglu_codes(*queue, scratch, scratch, both, of_activations);

    expect_equal(codes.kept, cuda::quantize_rows(*queue, scratch, both, of_activations));
    expect_equal(codes.activated, cuda::quantize_rows(*queue, scratch, activated, of_activations));
  }
}

// A row has one number for gate and one for up, so that the scale shows every bit of what is activated.
TEST_F(OperandsFp8, ActivateEveryGateThatBf16HasAsSwigluDoes) {
  const int64_t R = 65536, F = 128;
  for (const uint64_t seed : {8, 9}) {
    Numbers numbers(seed);
    const Buffer host = allocate(DType::bf16, {R, 2 * F});
    for (int64_t r = 0; r < R; ++r) {
      uint16_t* const row = values<uint16_t>(host.view) + r * 2 * F;
      std::fill_n(row, F, static_cast<uint16_t>(r));
      std::fill_n(row + F, F, f32_to_bf16(std::ldexp(numbers.normal(), numbers.integer(-9, 20))));
    }
    const Tensor both = scratch.of(DType::bf16, {R, 2 * F}), activated = scratch.of(DType::bf16, {R, F});
    copy_now(host, both);
    swiglu(*queue, {.gate = columns(both, 0, F), .up = columns(both, F, F), .y = activated});

    const cuda::SwigluCodes codes = cuda::swiglu_codes(*queue, scratch, scratch, both, of_activations);

    expect_same(codes.kept, cuda::quantize_rows(*queue, scratch, both, of_activations));
    expect_same(codes.activated, cuda::quantize_rows(*queue, scratch, activated, of_activations));
  }
}

TEST_F(OperandsFp8, TurnAndScaleDeltasAsSwigluBackwardDoes) {
  for (const auto& offsets : groupings) {
    const int64_t R = offsets.back(), F = 256;
    const Fp8Groups groups = groups_of(offsets);
    const Fp8Rows kept = cuda::quantize_rows(
        *queue, scratch, on_gpu(numbers_of(R, 2 * F, 5), DType::bf16), of_activations);
    const Tensor dactivated = on_gpu(numbers_of(R, F, 6, 1e-5f), DType::bf16);
    const Tensor both = scratch.of(DType::bf16, {R, 2 * F}), deltas = scratch.of(DType::bf16, {R, 2 * F});
    const Tensor activated = scratch.of(DType::bf16, {R, F});
    cuda::read_fp8(*queue, kept, both);
    const Tensor gate = columns(both, 0, F), up = columns(both, F, F);
    swiglu(*queue, {.gate = gate, .up = up, .y = activated});
    swiglu_backward(*queue, {.dy = dactivated, .gate = gate, .up = up, .dgate = columns(deltas, 0, F),
                             .dup = columns(deltas, F, F)});

    const cuda::SwigluBackwardCodes codes = cuda::swiglu_backward_codes(
        *queue, scratch, scratch, kept, dactivated, of_activations, of_gradients, groups);

    expect_equal(codes.rows, cuda::quantize_rows(*queue, scratch, deltas, of_gradients));
    expect_equal(codes.columns, cuda::quantize_columns(*queue, scratch, deltas, of_gradients, groups));
    expect_equal(codes.activated,
                 cuda::quantize_columns(*queue, scratch, activated, of_activations, groups));
  }
}

TEST_F(OperandsFp8, NameAnIndexThatNamesNoRow) {
  const Tensor table = on_gpu(numbers_of(40, 128, 1), DType::bf16), index = index_of(30, 40);
  const Fp8Rows of = cuda::quantize_rows(*queue, scratch, table, powers);
  queue->wait();
  const Buffer wrong = on_host(index);
  values<int32_t>(wrong.view)[17] = 40;
  copy_now(wrong, index);

  cuda::gather_codes(*queue, scratch, of, index);
  cuda::quantize_columns(*queue, scratch, {table, index, {}}, powers, groups_of({0, 30}));

  try {
    queue->wait();
    FAIL() << "no error";
  } catch (const KernelError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("17"), testing::HasSubstr("40")));
  }
}

}  // namespace
}  // namespace troupe::tests
