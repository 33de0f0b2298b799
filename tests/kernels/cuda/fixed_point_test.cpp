#include "kernels/ops/fixed_point.h"

#include <gmock/gmock.h>

#include "tests/kernels/cuda/twins.h"

namespace troupe::tests {
namespace {

using namespace kernels;

class FixedPointCudaTest : public GpuTest {
 protected:
  /// Where kernels leave faults.
  std::atomic<uint32_t>* faults() {
    if (!faults_) faults_ = allocate(Device::shared, DType::i32, {1});
    return new (faults_.view.data) std::atomic<uint32_t>(0);
  }

 private:
  Buffer faults_;
};

TEST_F(FixedPointCudaTest, UnitsAreAddedAndFaultsFoundAsOnTheCpu) {
  constexpr int64_t n = 40'000;
  Buffer unit = normal({n}, 1), more = normal({n}, 2, 1e-6f);
  values<float>(unit.view)[77] = 5000.0f;  // out of range for s = 50
  values<float>(unit.view)[78] = std::numeric_limits<float>::quiet_NaN();
  const Buffer sums = allocate_zeros(DType::i64, {n});

  for (const bool has_locks : {false, true}) {
    std::vector<uint32_t> seen;
    expect_twins([&](Side& side) {
      FixedPointLocks locks(n);
      std::atomic<uint32_t>* const found = faults();
      const Tensor sum = side.plain(sums);
      for (const Buffer& each : {unit, more}) {
        accumulate_unit(side.queue, {.unit = side.plain(each),
                                     .scale_bits = 50,
                                     .units = 3,
                                     .sum = sum,
                                     .faults = found,
                                     .locks = has_locks ? &locks : nullptr});
      }
      add_fixed_point(side.queue, {.addend = sum, .sum = sum});
      const auto bytes = side.bytes({sum});
      seen.push_back(found->load());
      return bytes;
    });
    EXPECT_THAT(seen, testing::ElementsAre(3u, 3u));
  }
}

TEST_F(FixedPointCudaTest, SumsAreRoundedAndComeBackAsOnTheCpu) {
  const Buffer sums = allocate(DType::i64, {1001});
  for (int64_t i = 0; i < 1001; ++i) values<int64_t>(sums.view)[i] = (i * 0x9e3779b97f4a7c15 ^ i << 40) >> (2 + i % 60);
  expect_twins([&](Side& side) {
    const Tensor sum = side.plain(sums), back = side.plain(allocate_zeros(DType::i64, {1001}));
    const Tensor rounded = side.plain(allocate_zeros(DType::f32, {1001}));
    round_sum(side.queue, {.sum = sum, .rounded = rounded});
    set_rounded_sum(side.queue, {.sum = back, .rounded = rounded});
    return side.bytes({rounded, back});
  });
}

TEST_F(FixedPointCudaTest, SeveralStreamsAddToOneSum) {
  constexpr int64_t n = 1000;
  constexpr int units = 40;
  ThreadPool pool(4);
  Side first(pool, Device::cuda), second(pool, Device::cuda);
  const Tensor sum = first.plain(allocate_zeros(DType::i64, {n}));
  const Tensor unit = first.plain(floats(std::vector<float>(n, 0.25f), {n}));
  FixedPointLocks locks(n);
  std::atomic<uint32_t>* const found = faults();

  for (int i = 0; i < units; ++i) {
    for (Side* side : {&first, &second}) {
      accumulate_unit(side->queue, {.unit = unit,
                                    .scale_bits = 40,
                                    .units = 2 * units,
                                    .sum = sum,
                                    .faults = found,
                                    .locks = &locks});
    }
  }
  second.queue.wait();
  first.queue.wait();

  const Buffer host = on_host(sum);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_EQ(values<int64_t>(host.view)[i], 2 * units * (int64_t{1} << 38));
  }
  EXPECT_EQ(found->load(), 0u);
}

}  // namespace
}  // namespace troupe::tests
