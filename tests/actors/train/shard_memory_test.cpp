#include "actors/train/shard_memory.h"

#include <gmock/gmock.h>

#include <numeric>

#include "tests/kernels/fixtures.h"

namespace troupe::tests {
namespace {

using namespace actors;
using kernels::Device;
using kernels::Initial;
using kernels::values;
using runtime::StateArena;
using runtime::StateError;
using runtime::TensorRef;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t block = runtime::block_elements;

/// Two tensors: "a" of two blocks and a half (ids 0 to 2), "b" of one of 5 elements (id 3).
class ShardMemoryTest : public testing::Test {
 protected:
  ShardMemoryTest()
      : arena_({{"a", {2 * block + block / 2}, Initial::ones}, {"b", {5}, Initial::ones}}), pool_(2),
        queue_(pool_), memory_(arena_, queue_) {}

  template <class T>
  TensorRef filled(kernels::DType dtype, int64_t count, T value) {
    const auto buffer = kernels::allocate(dtype, {count});
    std::fill_n(values<T>(buffer.view), count, value);
    kept_.push_back(buffer);  // until the lane has passed
    return {buffer.view, buffer.memory};
  }
  TensorRef sums(int64_t count, int64_t value) { return filled(kernels::DType::i64, count, value); }
  TensorRef weights(int64_t count, float value) { return filled(kernels::DType::f32, count, value); }

  int64_t sum_of(int64_t id) { return values<int64_t>(arena_.mutable_block_gradient(id))[3]; }
  float weight_of(int64_t id, uint64_t state) {
    return values<float>(arena_.block(id, state).weight)[3];
  }

  std::vector<kernels::Buffer> kept_;
  StateArena arena_;
  kernels::ThreadPool pool_;
  kernels::Queue queue_;
  ShardMemory memory_;
};

TEST_F(ShardMemoryTest, NeighbouringBlocksOfATensorTravelAsOne) {
  const auto counts = [](const ShardMemory::Tensors& tensors) {
    std::vector<int64_t> out;
    for (const TensorRef& tensor : tensors) out.push_back(tensor.view.count());
    return out;
  };
  const std::vector<int64_t> all{0, 1, 2, 3}, some{0, 2, 3};
  EXPECT_THAT(counts(memory_.gradients(all)), ElementsAre(2 * block + block / 2, 5));
  EXPECT_THAT(counts(memory_.weights(some, 1)), ElementsAre(block, block / 2, 5));
}

// What an arena that was cleared by a mark sends is zeros.
TEST_F(ShardMemoryTest, SumsThatNothingWasAddedToAreSentAsZeros) {
  const std::vector<int64_t> blocks{0, 1};
  memory_.set_rounded_gradients(blocks, {weights(2 * block, 77)});
  arena_.clear_gradients(queue_, blocks);
  queue_.wait();

  const auto sent = memory_.gradients(blocks);
  ASSERT_EQ(sent.size(), 1u);
  const int64_t* const its = values<int64_t>(sent[0].view);
  EXPECT_EQ(std::accumulate(its, its + 2 * block, int64_t{0}), 0);
}

TEST_F(ShardMemoryTest, SumsAreAddedOrTakeThePlaceOfOthers) {
  const std::vector<int64_t> blocks{1, 2, 3};
  memory_.set_rounded_gradients(blocks, {weights(block + block / 2, 10), weights(5, 20)});
  memory_.add_gradients(blocks, {sums(block + block / 2, 1), sums(5, 2)});
  queue_.wait();
  EXPECT_EQ(sum_of(0), 0);
  EXPECT_EQ(sum_of(1), 11);
  EXPECT_EQ(sum_of(2), 11);
  EXPECT_EQ(sum_of(3), 22);

  memory_.set_rounded_gradients(blocks, {weights(block + block / 2, 5), weights(5, 6)});
  queue_.wait();
  EXPECT_EQ(sum_of(2), 5);
  EXPECT_EQ(sum_of(3), 6);
}

// Where tensors lie otherwise they are cut otherwise.
TEST_F(ShardMemoryTest, SumsMayBeCutAnywhere) {
  const std::vector<int64_t> blocks{0, 1, 2, 3};
  memory_.add_gradients(blocks, {sums(block + 7, 1), sums(block - 6, 2), sums(block / 2 - 1, 3), sums(5, 4)});
  queue_.wait();
  EXPECT_EQ(sum_of(0), 1);
  EXPECT_EQ(sum_of(1), 1);
  EXPECT_EQ(values<int64_t>(arena_.mutable_block_gradient(1))[7], 2);
  EXPECT_EQ(values<int64_t>(arena_.mutable_block_gradient(2))[0], 2);
  EXPECT_EQ(values<int64_t>(arena_.mutable_block_gradient(2))[1], 3);
  EXPECT_EQ(sum_of(3), 4);
}

// What a buddy gets of a sum is what an update takes of it.
TEST_F(ShardMemoryTest, RoundedSumsTakeThePlaceOfTheBuddys) {
  const std::vector<int64_t> blocks{1, 3};
  constexpr int64_t large = (int64_t{1} << 40) + 1;
  memory_.add_gradients(blocks, {sums(block, large), sums(5, -7)});
  const ShardMemory::Tensors sent = memory_.rounded_gradients(blocks);
  queue_.wait();
  memory_.set_rounded_gradients(blocks, sent);
  queue_.wait();
  EXPECT_EQ(sum_of(1), int64_t{1} << 40);
  EXPECT_EQ(sum_of(3), -7);
}

// A message that a newer state has overtaken, or whose block is applied here already.
TEST_F(ShardMemoryTest, WeightsOfBlocksThatAreThereStayAsTheyAre) {
  arena_.set_stamp(1, 4);
  values<float>(arena_.block(1, 4).weight)[3] = 0.25f;
  const std::vector<int64_t> blocks{0, 1, 2, 3};

  memory_.set_weights(blocks, 4, {weights(2 * block + block / 2, 2.0f), weights(5, 3.0f)});
  queue_.wait();

  EXPECT_EQ(weight_of(0, 4), 2.0f);
  EXPECT_EQ(weight_of(1, 4), 0.25f);
  EXPECT_EQ(weight_of(2, 4), 2.0f);
  EXPECT_EQ(weight_of(3, 4), 3.0f);
  for (const int64_t id : blocks) EXPECT_EQ(arena_.stamp(id, 4), 4u);
  EXPECT_EQ(weight_of(0, 3), 0.0f);  // the other version is another state's
}

TEST_F(ShardMemoryTest, WeightsOfNeighbouringRangesMayComeAsOne) {
  const std::vector<int64_t> blocks{0, 2, 3};
  std::vector<float> numbers(static_cast<size_t>(block + block / 2 + 5), 1.0f);
  std::fill(numbers.begin() + block, numbers.end(), 2.0f);
  std::fill(numbers.end() - 5, numbers.end(), 3.0f);
  const TensorRef all = weights(static_cast<int64_t>(numbers.size()), 0.0f);
  std::copy(numbers.begin(), numbers.end(), values<float>(all.view));

  memory_.set_weights(blocks, 1, {all});
  queue_.wait();

  EXPECT_EQ(weight_of(0, 1), 1.0f);
  EXPECT_EQ(weight_of(2, 1), 2.0f);
  EXPECT_EQ(weight_of(3, 1), 3.0f);
  EXPECT_THAT([&] { memory_.set_weights(blocks, 1, {weights(block + 1, 1.0f), weights(block / 2 + 4, 1.0f)}); },
              ThrowsMessage<StateError>(HasSubstr("found 2 tensors")));
}

// Of who takes a lost one's place, or of memory that has changed: also over what stands at that state.
TEST_F(ShardMemoryTest, WholeBlocksAreWeightsAndMomentsOfEachRange) {
  const std::vector<int64_t> blocks{0, 2, 3};
  EXPECT_EQ(memory_.whole(blocks, 3).size(), memory_.whole_tensors(blocks));
  ASSERT_EQ(memory_.whole_tensors(blocks), 9u);
  arena_.set_stamp(2, 3);
  arena_.set_stamp(3, 5);  // newer than what comes
  ShardMemory::Tensors come;
  for (const int64_t count : {block, block / 2, int64_t{5}}) {
    for (const float value : {1.0f, 2.0f, 3.0f}) come.push_back(weights(count, value));
  }

  memory_.set_whole(blocks, 3, come);
  queue_.wait();

  for (const int64_t id : {int64_t{0}, int64_t{2}}) {
    const auto state = arena_.block(id, 3);
    EXPECT_EQ(values<float>(state.weight)[3], 1.0f);
    EXPECT_EQ(values<float>(state.moment1)[3], 2.0f);
    EXPECT_EQ(values<float>(state.moment2)[3], 3.0f);
    EXPECT_EQ(arena_.stamp(id, 3), 3u);
  }
  EXPECT_EQ(weight_of(1, 3), 0.0f);
  EXPECT_EQ(weight_of(3, 3), 0.0f);
  EXPECT_EQ(arena_.stamp(3, 3), 5u);
}

TEST_F(ShardMemoryTest, TensorsThatAreNotTheBlocksAreRefused) {
  const std::vector<int64_t> blocks{0, 1, 3};
  EXPECT_THAT([&] { memory_.add_gradients(blocks, {sums(2 * block, 1)}); },
              ThrowsMessage<StateError>(HasSubstr("found sums of 131072 elements, wanted 131077")));
  EXPECT_THAT([&] { memory_.set_weights(blocks, 1, {weights(block, 1.0f), weights(5, 1.0f)}); },
              ThrowsMessage<StateError>(HasSubstr("2 ranges")));
}

}  // namespace
}  // namespace troupe::tests
