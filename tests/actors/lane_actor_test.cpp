#include "actors/lane_actor.h"

#include <gtest/gtest.h>

namespace troupe::tests {
namespace {

using namespace actors;

wire::BeginStep begin_of(uint64_t term, uint64_t n, uint64_t step) {
  wire::BeginStep begin;
  begin.mutable_epoch()->set_term(term);
  begin.mutable_epoch()->set_n(n);
  begin.set_step(step);
  return begin;
}

wire::UnitId unit_of(const wire::BeginStep& begin, uint32_t micro_batch, int32_t layer,
                     wire::Operation operation, uint32_t sender) {
  wire::UnitId id;
  *id.mutable_epoch() = begin.epoch();
  id.set_step(begin.step());
  id.set_micro_batch(micro_batch);
  id.set_layer(layer);
  id.set_operation(operation);
  id.set_sender(sender);
  return id;
}

// Unit law: inside an epoch a duplicate is dropped.
TEST(UnitFilter, TakesEachUnitOnce) {
  const wire::BeginStep begin = begin_of(1, 3, 7);
  UnitFilter filter;
  filter.begin(begin);
  const wire::UnitId id = unit_of(begin, 2, 4, wire::FORWARD, 0);

  EXPECT_TRUE(filter.accept(id, Edge::work));
  EXPECT_FALSE(filter.accept(id, Edge::work));
}

TEST(UnitFilter, EveryPartOfTheIdCounts) {
  const wire::BeginStep begin = begin_of(1, 3, 7);
  UnitFilter filter;
  filter.begin(begin);

  EXPECT_TRUE(filter.accept(unit_of(begin, 2, 4, wire::FORWARD, 0), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(begin, 3, 4, wire::FORWARD, 0), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(begin, 2, 5, wire::FORWARD, 0), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(begin, 2, 4, wire::BACKWARD, 0), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(begin, 2, 4, wire::FORWARD, 1), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(begin, 2, 4, wire::FORWARD, 0), Edge::routed));
}

// Unit law: an id of an older epoch is refused; so is one of another step or of an epoch to come.
TEST(UnitFilter, RefusesOtherEpochsAndSteps) {
  UnitFilter filter;
  filter.begin(begin_of(2, 3, 7));

  for (const auto& other : {begin_of(2, 2, 7), begin_of(1, 9, 7), begin_of(2, 4, 7),
                            begin_of(3, 1, 7), begin_of(2, 3, 6)}) {
    EXPECT_FALSE(filter.accept(unit_of(other, 0, 0, wire::FORWARD, 0), Edge::work));
  }
}

TEST(UnitFilter, AStepBegunAgainTakesItsUnitsAgain) {
  const wire::BeginStep first = begin_of(1, 1, 7), again = begin_of(1, 2, 7);
  UnitFilter filter;
  filter.begin(first);
  EXPECT_TRUE(filter.accept(unit_of(first, 0, 0, wire::FORWARD, 0), Edge::work));

  filter.begin(again);

  EXPECT_FALSE(filter.accept(unit_of(first, 0, 0, wire::FORWARD, 0), Edge::work));
  EXPECT_TRUE(filter.accept(unit_of(again, 0, 0, wire::FORWARD, 0), Edge::work));
}

TEST(Epoch, IsOrderedAsAPair) {
  EXPECT_TRUE(is_older(begin_of(1, 9, 1).epoch(), begin_of(2, 1, 1).epoch()));
  EXPECT_TRUE(is_older(begin_of(2, 1, 1).epoch(), begin_of(2, 2, 1).epoch()));
  EXPECT_FALSE(is_older(begin_of(2, 2, 1).epoch(), begin_of(2, 2, 1).epoch()));
}

}  // namespace
}  // namespace troupe::tests
