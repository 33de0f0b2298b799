#include "deploy/cluster/lead/node_claims.h"

#include <gtest/gtest.h>

#include "tests/deploy/cluster/lead/held_part.h"

namespace troupe::deploy {
namespace {

wire::Epoch epoch(uint64_t term, uint64_t n) {
  wire::Epoch epoch;
  epoch.set_term(term);
  epoch.set_n(n);
  return epoch;
}

/// Step 7 was committed as its second attempt had it.
wire::StepRecord last_commit() {
  wire::StepRecord record;
  record.set_step(7);
  *record.mutable_epoch() = epoch(3, 12);
  return record;
}

wire::NodeFacts holder(uint64_t state, uint64_t prepared_step, const wire::Epoch& prepared) {
  wire::NodeFacts facts;
  facts.set_held_state(state);
  facts.set_held_prepared_step(prepared_step);
  *facts.mutable_held_prepared_epoch() = prepared;
  return facts;
}

// Commit law: a step is applied to the state before it with the gradients that were prepared, and no others.
TEST(Holder, IsOneThatHasAppliedTheLastCommitOrCan) {
  EXPECT_TRUE(is_at(holder(7, 7, epoch(3, 12)), last_commit()));
  EXPECT_TRUE(is_at(holder(6, 7, epoch(3, 12)), last_commit()));
  EXPECT_TRUE(is_at(holder(7, 0, {}), last_commit())) << "it was handed that state";
}

TEST(Holder, IsNoneThatWasCutOffMeanwhile) {
  EXPECT_FALSE(is_at(holder(6, 7, epoch(3, 11)), last_commit())) << "of an attempt that was given up";
  EXPECT_FALSE(is_at(holder(6, 7, epoch(2, 12)), last_commit())) << "under another leader";
  EXPECT_FALSE(is_at(holder(6, 6, epoch(3, 10)), last_commit())) << "that step is not prepared";
  EXPECT_FALSE(is_at(holder(5, 6, epoch(3, 10)), last_commit()));
  EXPECT_FALSE(is_at(holder(0, 0, {}), last_commit()));
  wire::NodeFacts at_rest = holder(6, 7, epoch(3, 12));
  at_rest.set_is_at_rest(true);
  EXPECT_FALSE(is_at(at_rest, last_commit())) << "what it had prepared went with its actors";
}

/// The second of three, which was the fourth of four before a change that failed.
wire::NodeFacts at_rest(uint64_t state) {
  wire::NodeFacts facts;
  facts.set_is_at_rest(true);
  facts.set_held_state(state);
  facts.set_held_process(1);
  facts.set_held_processes(3);
  facts.set_held_buddy_stride(1);
  *facts.add_also_held() = part(3, 4);
  return facts;
}

TEST(HeldBy, IsWhatBothPlansGaveANodeThatStandsStillAtTheState) {
  wire::HeldPart both = part(1, 3);
  *both.add_also() = part(3, 4);
  EXPECT_EQ(held_by(at_rest(7), 7).SerializeAsString(), both.SerializeAsString());
  EXPECT_EQ(held_by(at_rest(7), 8).processes(), 0);
  wire::NodeFacts with_actors = at_rest(7);
  with_actors.set_is_at_rest(false);
  EXPECT_EQ(held_by(with_actors, 7).processes(), 0);
}

TEST(HeldBy, LeavesOutWhatCannotBe) {
  wire::NodeFacts facts = at_rest(7);
  *facts.mutable_also_held(0) = part(4, 4);
  EXPECT_EQ(held_by(facts, 7).also_size(), 0) << "the fifth of four";
  *facts.mutable_also_held(0) = part(0, 4);
  EXPECT_EQ(held_by(facts, 7).also_size(), 0) << "the leader";
  *facts.mutable_also_held(0) = part(3, 4);
  *facts.mutable_also_held(0)->add_also() = part(3, 4);
  EXPECT_EQ(held_by(facts, 7).also_size(), 0) << "parts of parts";
  facts.set_held_process(3);
  EXPECT_EQ(held_by(facts, 7).processes(), 0);
}

TEST(IsAmong, GoesByTheNumbersOfTheSamePlan) {
  const wire::HeldPart part = held_by(at_rest(7), 7);
  EXPECT_TRUE(is_among(part, 4, {3}));
  EXPECT_FALSE(is_among(part, 4, {1}));
  EXPECT_TRUE(is_among(part, 3, {1}));
  EXPECT_FALSE(is_among(part, 3, {}));

  wire::HeldPart often = part;  // of three changes that failed
  *often.add_also() = troupe::deploy::part(2, 4);
  *often.add_also() = troupe::deploy::part(2, 3);
  EXPECT_TRUE(is_among(often, 4, {2}));
  EXPECT_FALSE(is_among(often, 4, {3})) << "it was that before";
  EXPECT_FALSE(is_among(often, 3, {2}));
}

wire::NodeFacts measured(const std::string& run, int processes, int64_t milliseconds) {
  wire::NodeFacts facts;
  facts.set_held_run(run);
  facts.set_held_processes(processes);
  facts.set_usual_step_ms(milliseconds);
  return facts;
}

TEST(UsualStep, IsTheMedianOfWhatNodesOfTheRunSay) {
  const auto usual = [](std::vector<wire::NodeFacts> facts) { return usual_step_of(facts, "run").count(); };
  EXPECT_EQ(usual({}), 0);
  EXPECT_EQ(usual({measured("run", 4, 0), measured("", 0, 0), measured("other", 4, 9)}), 0);
  EXPECT_EQ(usual({measured("run", 4, 200), measured("run", 4, 90'000), measured("run", 4, 210)}), 210);
  EXPECT_EQ(usual({measured("run", 4, 200), measured("other", 4, 5), measured("", 0, 0)}), 200);
}

TEST(UsualStep, IsLongerWhereFewerProcessesGoOn) {
  const std::vector<wire::NodeFacts> one{measured("run", 16, 100)};
  EXPECT_EQ(usual_step_of(one, "run").count(), 800);
  const std::vector<wire::NodeFacts> more(7, measured("run", 2, 100));
  EXPECT_EQ(usual_step_of(more, "run").count(), 100);
}

}  // namespace
}  // namespace troupe::deploy
