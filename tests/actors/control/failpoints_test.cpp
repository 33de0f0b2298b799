#include "actors/control/failpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace troupe::tests {
namespace {

using namespace actors;
using testing::HasSubstr;

std::string error_of(std::string_view text, Fault fault = Fault::kill) {
  try {
    return to_string(parse_failpoint(fault, text));
  } catch (const FailpointError& error) {
    return error.what();
  }
}

TEST(Failpoint, ReadsWhatItPrints) {
  EXPECT_EQ(error_of("stage@3:forward"), "kill stage/0@3:forward");
  EXPECT_EQ(error_of("expert_shard/2@7:backward#5"), "kill expert_shard/2@7:backward#5");
  EXPECT_EQ(error_of("router/1@2:forward+250", Fault::delay), "delay router/1@2:forward+250");
  EXPECT_EQ(error_of("coordinator@1:commit", Fault::fail), "fail coordinator/0@1:commit");
}

TEST(Failpoint, WhatIsAroundARunFailsForSomeTime) {
  EXPECT_EQ(error_of("journal@5:commit+300", Fault::disk), "disk journal/0@5:commit+300");
  EXPECT_EQ(error_of("checkpointer@5:checkpoint+300", Fault::disk), "disk checkpointer/0@5:checkpoint+300");
  EXPECT_EQ(error_of("crew/2@5:forward+1500", Fault::link), "link crew/2@5:forward+1500");
  EXPECT_EQ(error_of("crew/1@5:begin+1500", Fault::oneway), "oneway crew/1@5:begin+1500");
  EXPECT_THAT(error_of("stage@5:forward", Fault::disk), HasSubstr("stage waits for no disk"));
  EXPECT_THAT(error_of("stage@5:forward", Fault::link), HasSubstr("crew/P stands for the host of process P"));
  EXPECT_EQ(to_string(failpoint_of("link crew/2@5:forward+1500")), "link crew/2@5:forward+1500");
}

TEST(Failpoint, ABitCanFlipInWhatIsSentOrHeld) {
  EXPECT_EQ(error_of("router/1@2:backward", Fault::flip), "flip router/1@2:backward");
  EXPECT_EQ(error_of("optimizer_shard@2:begin", Fault::flip), "flip optimizer_shard/0@2:begin");
  EXPECT_EQ(error_of("optimizer_shard@2:prepare", Fault::flip), "flip optimizer_shard/0@2:prepare");
  EXPECT_THAT(error_of("optimizer_shard@2:apply", Fault::flip),
              HasSubstr("has nothing to flip at apply"));
  EXPECT_THAT(error_of("stage@2:begin", Fault::flip), HasSubstr("has nothing to flip at begin"));
  EXPECT_THAT(error_of("trainer@2:forward", Fault::flip), HasSubstr("has nothing to flip"));
}

TEST(Failpoint, SaysWhatIsWrongAndWhatWasWanted) {
  EXPECT_THAT(error_of("stage"), HasSubstr("has no '@STEP'"));
  EXPECT_THAT(error_of("stage@3"), HasSubstr("has no ':PHASE'"));
  EXPECT_THAT(error_of("actor@3:begin"), HasSubstr("found role 'actor', wanted one of coordinator"));
  EXPECT_THAT(error_of("stage/x@3:begin"), HasSubstr("INDEX is 'x', no number"));
  EXPECT_THAT(error_of("stage/-1@3:begin"), HasSubstr("INDEX is '-1', no number"));
  EXPECT_THAT(error_of("stage@0:begin"), HasSubstr("steps count from 1"));
  EXPECT_THAT(error_of("stage@:begin"), HasSubstr("STEP is '', no number"));
  EXPECT_THAT(error_of("stage@99999999999999999999:begin"), HasSubstr("no number"));
  EXPECT_THAT(error_of("stage@1:commit"), HasSubstr("stage has no phase 'commit', it has begin"));
  EXPECT_THAT(error_of("coordinator@1:begin", Fault::drop), HasSubstr("can be dropped"));
  EXPECT_THAT(error_of("journal@1:commit", Fault::hang), HasSubstr("waits for disks"));
}

TEST(Failpoints, FireOnceWhereTheyAre) {
  Failpoints failpoints;
  failpoints.set({parse_failpoint(Fault::kill, "router/1@4:forward#2")}, {});
  const Failpoints::Place there{Role::router, 1, 4, Phase::forward};

  EXPECT_FALSE(failpoints.reached({Role::router, 0, 4, Phase::forward}));
  EXPECT_FALSE(failpoints.reached({Role::router, 1, 3, Phase::forward}));
  EXPECT_FALSE(failpoints.reached(there));  // the first time
  EXPECT_TRUE(failpoints.reached(there));
  EXPECT_FALSE(failpoints.reached(there));
}

TEST(Failpoints, WhoseWitnessIsThereHaveDoneTheirWork) {
  Failpoints failpoints;
  failpoints.set({parse_failpoint(Fault::kill, "stage@4:begin")}, {"kill stage/0@4:begin"});

  EXPECT_FALSE(failpoints.reached({Role::stage, 0, 4, Phase::begin}));
}

TEST(Failpoints, RandomOnesAreAFunctionOfTheSeedAndCanHappen) {
  const std::vector<int> counts{1, 1, 1, 1, 0, 2, 2, 14, 2, 2, 1};
  const RandomFailpointsArgs args{.seed = 3, .count = 2000, .steps = 50, .counts = counts,
                                  .kinds = {Fault::kill, Fault::fail, Fault::drop, Fault::delay}, .checkpoint_every = 20};
  const auto drawn = random_failpoints(args), again = random_failpoints(args);

  std::map<std::pair<Role, Phase>, int> met;
  ASSERT_EQ(drawn.size(), 2000u);
  for (size_t i = 0; i < drawn.size(); ++i) {
    const Failpoint& f = drawn[i];
    EXPECT_EQ(to_string(f), to_string(again[i]));
    EXPECT_LT(f.index, counts[static_cast<size_t>(f.role)]);
    EXPECT_TRUE(f.step >= 1 && f.step <= 50);
    EXPECT_TRUE(can_have(f.role, f.fault));
    EXPECT_TRUE(f.step > 1 || !shows_by_its_time(f.fault)) << to_string(f);
    EXPECT_TRUE(f.phase != Phase::checkpoint || f.step % 20 == 0 || f.step == 50) << f.step;
    ++met[{f.role, f.phase}];
  }
  for (int role = 0; role < roles; ++role) {
    if (counts[static_cast<size_t>(role)] == 0) continue;
    for (const Phase phase : phases_of(static_cast<Role>(role))) {
      EXPECT_GE((met[{static_cast<Role>(role), phase}]), 3) << to_string(static_cast<Role>(role)) << ":" << to_string(phase);
    }
  }
}

TEST(Failpoints, RandomOnesOfARunOfOneStepAreNoneThatOnlyAMeasuredTimeShows) {
  const std::vector<int> counts{1, 1, 1, 1, 0, 2, 2, 14, 2, 2, 1};
  const auto drawn = random_failpoints({.seed = 3, .count = 20, .steps = 1, .counts = counts,
                                        .kinds = {Fault::kill, Fault::drop}, .checkpoint_every = 0});
  ASSERT_FALSE(drawn.empty());
  for (const Failpoint& f : drawn) EXPECT_EQ(f.fault, Fault::kill);
}

TEST(Failpoints, OfACheckpointFiresAtTheFirstFromItsStepOn) {
  Failpoints failpoints;
  failpoints.set({actors::parse_failpoint(Fault::fail, "checkpointer@10:checkpoint"),
                  actors::parse_failpoint(Fault::fail, "stage@10:forward")}, {});

  EXPECT_FALSE(failpoints.reached({Role::checkpointer, 0, 5, Phase::checkpoint}));
  EXPECT_TRUE(failpoints.reached({Role::checkpointer, 0, 15, Phase::checkpoint}));
  EXPECT_FALSE(failpoints.reached({Role::checkpointer, 0, 20, Phase::checkpoint}));
  EXPECT_FALSE(failpoints.reached({Role::stage, 0, 11, Phase::forward})) << "a step's comes once";
}

}  // namespace
}  // namespace troupe::tests
