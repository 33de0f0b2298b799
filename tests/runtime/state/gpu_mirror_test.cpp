#include "runtime/state/gpu_mirror.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "kernels/cuda/device/device.h"
#include "kernels/ops/permute.h"
#include "runtime/state/arena.h"
#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using kernels::Initial;
using kernels::Tensor;
using kernels::values;
using runtime::BlockRange;
using runtime::StateArena;
using runtime::UnitEpoch;

constexpr int64_t block = runtime::block_elements;

/// Matrices of 64 columns; "a" has two blocks, the others one.
class GpuMirrorTest : public testing::Test {
 protected:
  GpuMirrorTest()
      : arena_({{"a", {2 * block / 64, 64}, Initial::normal}, {"b", {32, 64}, Initial::normal}, {"c", {16, 64}, Initial::normal}}) {
    runtime::initialise(arena_, 7, 0.02f);
  }
  void SetUp() override {
    const std::string reason = kernels::cuda::why_no_gpu();
    if (!reason.empty()) GTEST_SKIP() << "no GPU to compute on: " << reason;
    arena_.open_mirror();
  }

  runtime::GpuMirror& mirror() { return *arena_.mirror(); }
  /// A block's weights as the host has them.
  std::vector<float> host(int64_t id, uint64_t state) {
    const Tensor weight = arena_.block(id, state).weight;
    return {values<float>(weight), values<float>(weight) + weight.count()};
  }
  static std::vector<float> seen(const kernels::ConstTensor& there) {
    const kernels::Buffer here = kernels::on_host(there);
    return {values<float>(here.view), values<float>(here.view) + here.view.count()};
  }
  void write(const Tensor& there, float value) {
    const kernels::Buffer from = kernels::allocate(kernels::DType::f32, {there.count()});
    std::fill_n(values<float>(from.view), there.count(), value);
    kernels::copy_now(from, there);
  }

  StateArena arena_;
};

// A run's actors ask at the same time, and none may be left with memory that another has replaced.
TEST_F(GpuMirrorTest, WhoAsksForPackedWeightsAtOnceGetsTheSame) {
  const std::vector<int> tensors{0, 1, 2};
  for (uint64_t attempt = 1; attempt <= 20; ++attempt) {
    StateArena arena({{"a", {64, 64}, Initial::normal}, {"b", {32, 64}, Initial::normal}, {"c", {16, 64}, Initial::normal}});
    runtime::initialise(arena, 7, 0.02f);
    arena.open_mirror();
    std::vector<const void*> found(8);
    std::vector<std::thread> threads;
    for (auto& data : found) {
      threads.emplace_back([&arena, &tensors, &data] {
        data = arena.mirror()->bf16_weights(tensors, 0, UnitEpoch{1, 1})[2].data;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(std::set<const void*>(found.begin(), found.end()).size(), 1u) << attempt;
  }
}

// A plan of other processes deals experts out anew.
TEST_F(GpuMirrorTest, PackedWeightsAreLaidOutAnewForAnotherCompany) {
  const auto bytes = [](const kernels::ConstTensor& weights) {
    const kernels::Buffer here = kernels::on_host(weights);
    const auto* first = static_cast<const uint16_t*>(here.view.data);
    return std::vector<uint16_t>(first, first + here.view.count());
  };
  mirror().bf16_weights(std::vector{0, 1}, 0, {1, 1});
  const auto before = mirror().bf16_weights(std::vector{1, 2}, 0, {1, 1});  // one of them had a place with another
  const std::vector<uint16_t> b = bytes(before[0]), c = bytes(before[1]);

  const auto after = mirror().bf16_weights(std::vector{0, 1, 2}, 0, {1, 1});
  EXPECT_EQ(static_cast<const char*>(after[2].data) - static_cast<const char*>(after[1].data), 2 * 32 * 64);
  EXPECT_EQ(bytes(after[1]), b);
  EXPECT_EQ(bytes(after[2]), c);
  const auto alone = mirror().bf16_weights(std::vector{2}, 0, {1, 1});
  EXPECT_EQ(bytes(alone[0]), c);
}

TEST_F(GpuMirrorTest, WeightsThatOthersHaveMadeComeToTheHostAlone) {
  const BlockRange second{0, 1, 1, block, block};
  std::fill_n(values<float>(arena_.block(0, 1).weight), block, 0.75f);
  arena_.set_stamp(0, 1);  // the host's, of state 1
  write(mirror().weights(second, 1), 0.5f);
  arena_.set_stamp_of_received(second, 1);

  EXPECT_EQ(host(1, 1), std::vector<float>(block, 0.5f));
  const auto all = seen(mirror().weight(0, 1, {1, 1}));
  EXPECT_EQ(all[block], 0.5f);
  EXPECT_EQ(all[0], 0.75f);
}

// State 0 is what everybody begins with: weights of it that come from another process count as well.
TEST_F(GpuMirrorTest, WeightsOfStateZeroThatCameAreNotTheHosts) {
  const BlockRange range{1, 2, 1, 0, 32 * 64};
  write(mirror().weights(range, 0), 0.25f);
  arena_.set_stamp_of_received(range, 0);
  EXPECT_EQ(host(2, 0), std::vector<float>(32 * 64, 0.25f));
}

TEST_F(GpuMirrorTest, AStateIsBroughtOnceAndNotOverWhatWasMade) {
  const BlockRange all{0, 0, 2, 0, 2 * block};
  mirror().bring(all, 0);
  EXPECT_EQ(seen(mirror().weights(all, 0))[block + 5], host(1, 0)[5]);

  write(mirror().weights(all, 0), 1.0f);  // as an update would
  mirror().bring(all, 0);
  EXPECT_EQ(seen(mirror().weights(all, 0))[3], 1.0f);

  arena_.set_stamp(0, 0);  // the host has block 0 anew
  mirror().bring(all, 0);
  const auto now = seen(mirror().weights(all, 0));
  EXPECT_EQ(now[3], host(0, 0)[3]);
  EXPECT_EQ(now[block + 3], 1.0f);
}

// As few as they can be they travel to another process.
TEST_F(GpuMirrorTest, SumsAndWeightsThatAreLaidTogetherAreNeighbours) {
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool, kernels::Device::cuda);
  const Tensor before = mirror().gradient_of(queue, {2, 3, 1, 0, 16 * 64});
  const std::vector<int> all{1, 2, 0};  // blocks are in the order of names
  mirror().lay_together(all);

  const Tensor a = mirror().gradient_of(queue, {0, 0, 2, 0, 2 * block});
  const Tensor b = mirror().gradient_of(queue, {1, 2, 1, 0, 32 * 64});
  EXPECT_EQ(values<int64_t>(a) + a.count(), values<int64_t>(b));
  EXPECT_EQ(mirror().allocation_of_sums(0), mirror().allocation_of_sums(1));
  EXPECT_EQ(mirror().gradient_of(queue, {2, 3, 1, 0, 16 * 64}).data, before.data) << "it had memory already";
  EXPECT_NE(mirror().allocation_of_sums(2), mirror().allocation_of_sums(1));
  for (const uint64_t state : {0, 1}) {
    const Tensor first = mirror().weights({0, 0, 2, 0, 2 * block}, state);
    EXPECT_EQ(values<float>(first) + 2 * block, values<float>(mirror().weights({1, 2, 1, 0, 32 * 64}, state)));
    EXPECT_EQ(mirror().allocation_of_weights(0, state), mirror().allocation_of_weights(2, state));
  }
  EXPECT_EQ(seen(mirror().weight(1, 0, {})), host(2, 0));
  queue.wait();
  const kernels::Buffer here = kernels::on_host(b);
  const int64_t* const sums = values<int64_t>(here.view);
  EXPECT_EQ(std::count(sums, sums + here.view.count(), 0), here.view.count());
}

// A plan with one worker a process may follow one with several, and the other way.
TEST_F(GpuMirrorTest, SumsBeginAtZeroWhoeverAddsToThem) {
  kernels::ThreadPool pool(1);
  kernels::Queue queue(pool, kernels::Device::cuda);
  const BlockRange range{1, 2, 1, 0, 32 * 64};
  const auto sum = [&] {
    const Tensor there = mirror().gradient_of(queue, range);
    queue.wait();
    const kernels::Buffer here = kernels::on_host(there);
    const auto* first = values<int64_t>(here.view);
    return std::accumulate(first, first + here.view.count(), int64_t{0});
  };
  const auto fill = [&] {
    const kernels::Buffer ones = kernels::allocate(kernels::DType::i64, {range.count});
    std::fill_n(values<int64_t>(ones.view), range.count, int64_t{1});
    kernels::copy_now(ones, mirror().gradient_of(queue, range));
  };

  mirror().share_sums(false);
  fill();
  mirror().clear(queue, range);
  EXPECT_TRUE(mirror().gradient(1, 50, 1).is_first);
  fill();
  mirror().clear(queue, range);
  mirror().share_sums(true);  // before anybody has added
  EXPECT_FALSE(mirror().gradient(1, 50, 1).is_first);
  EXPECT_EQ(sum(), 0);

  fill();
  mirror().clear(queue, range);
  queue.wait();
  EXPECT_FALSE(mirror().gradient(1, 50, 1).is_first);
  EXPECT_EQ(sum(), 0);
}

}  // namespace
}  // namespace troupe::tests
