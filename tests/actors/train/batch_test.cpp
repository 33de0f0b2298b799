#include "actors/train/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using namespace actors;
using testing::ElementsAre;

std::vector<int32_t> numbers(const kernels::Buffer& b) {
  const int32_t* data = kernels::values<int32_t>(b.view);
  return {data, data + b.view.count()};
}

/// Two sequences of 5 + 1 tokens, the second one padded.
MicroBatch padded() {
  const std::vector<int32_t> tokens{1, 2, 3, 4, 5, 6, 11, 12, 13, 14, -1, -1};
  return make_micro_batch(tokens, 2);
}

TEST(MicroBatch, TargetsAreTheNextTokens) {
  const MicroBatch batch = padded();

  EXPECT_EQ(batch.rows, 5);
  EXPECT_EQ(batch.sequences(), 2);
  EXPECT_THAT(numbers(batch.inputs), ElementsAre(1, 2, 3, 4, 5, 11, 12, 13, 14, 0));
  EXPECT_THAT(numbers(batch.targets), ElementsAre(2, 3, 4, 5, 6, 12, 13, 14, -1, -1));
}

// Report equation 21: row i of module m reads the token at i + 1 + m and predicts the one behind.
TEST(MicroBatch, MtpReadsTheTokensAhead) {
  const MicroBatch first = mtp_batch(padded(), 0), second = mtp_batch(padded(), 1);

  EXPECT_EQ(first.rows, 4);
  EXPECT_THAT(numbers(first.inputs), ElementsAre(2, 3, 4, 5, 12, 13, 14, 0));
  EXPECT_THAT(numbers(first.targets), ElementsAre(3, 4, 5, 6, 13, 14, -1, -1));
  EXPECT_EQ(second.rows, 3);
  EXPECT_THAT(numbers(second.inputs), ElementsAre(3, 4, 5, 13, 14, 0));
  EXPECT_THAT(numbers(second.targets), ElementsAre(4, 5, 6, 14, -1, -1));
}

TEST(MicroBatch, PositionsBeginAnewInEachSequence) {
  EXPECT_THAT(numbers(positions(2, 3)), ElementsAre(0, 1, 2, 0, 1, 2));
}

// Sum law: loss denominators are integers known before backward.
TEST(MicroBatch, DenominatorsCountTargetsAndNotPadding) {
  const MicroBatch batch = padded();
  const std::vector<MicroBatch> step{batch, batch};

  const Denominators d = denominators(step, 2);

  EXPECT_EQ(d.main, 16);
  EXPECT_THAT(d.mtp, ElementsAre(12, 8));
  EXPECT_EQ(d.sequences, 4);
}

}  // namespace
}  // namespace troupe::tests
