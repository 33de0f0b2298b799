#include "deploy/chaos/campaign_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace troupe::tests {
namespace {

using deploy::CampaignResult;
using deploy::outcomes_of;
using testing::HasSubstr;
using testing::Not;
using wire::Event;

Event event(uint64_t ms, Event::Kind kind, const std::string& text = {}) {
  Event one;
  one.set_unix_us(1000 * ms);
  one.set_kind(kind);
  one.set_text(text);
  return one;
}

std::vector<Event> events() {
  return {event(5, Event::STEP_BEGUN_AGAIN),  // of no failure
          event(100, Event::FAILPOINT, "crash expert_shard/1@7:backward"),
          event(103, Event::PROCESS_LOST), event(140, Event::PROCESS_JOINED),
          event(150, Event::STEP_BEGUN_AGAIN),
          event(300, Event::FAILPOINT, "kill stage/0@9:forward"), event(301, Event::ACTOR_ENDED),
          event(302, Event::STEP_BEGUN_AGAIN),
          event(400, Event::FAILPOINT, "delay stage/0@12:forward+3"),
          event(500, Event::FAILPOINT, "crash crew/0@15:commit"), event(510, Event::PROCESS_LOST),
          event(511, Event::STATE_LOST), event(900, Event::STEP_BEGUN_AGAIN)};
}

CampaignResult result() {
  return {.outcomes = outcomes_of(events()), .unwitnessed = {}, .quiet_hash = "ab", .hash = "ab"};
}

TEST(CampaignReport, MeasuresFromTheWitnessToTheLossAndTheStepBegunAgain) {
  const auto found = outcomes_of(events());

  ASSERT_EQ(found.size(), 4u);
  EXPECT_DOUBLE_EQ(*found[0].detected_ms, 3);
  EXPECT_DOUBLE_EQ(*found[0].again_ms, 50);
  EXPECT_EQ(found[0].begun_again, 1);
  EXPECT_DOUBLE_EQ(*found[1].detected_ms, 1);
  EXPECT_FALSE(found[2].detected_ms);
  EXPECT_EQ(found[2].begun_again, 0) << "nothing was lost";
  EXPECT_TRUE(found[3].lost_state);
}

TEST(CampaignReport, AnEndForLackOfMemoryIsTheKernels) {
  const auto found = outcomes_of({event(100, Event::FAILPOINT, "oom stage/1@7:backward"),
                                  event(103, Event::PROCESS_LOST, "process 1 (a, pid 7) has closed its connection"),
                                  event(104, Event::PROCESS_FENCED,
                                        "process 1 (a, pid 7) was ended by signal 9 (SIGKILL), by the kernel for lack of memory"),
                                  event(200, Event::FAILPOINT, "oom stage/0@9:backward"),
                                  event(203, Event::PROCESS_LOST, "process 0 was ended by signal 9 (SIGKILL)")});

  EXPECT_TRUE(found[0].lacked_memory);
  EXPECT_EQ(deploy::without_lack_of_memory(found, 0),
            std::vector<std::string>{"oom stage/0@9:backward (no end for lack of memory)"});
  EXPECT_TRUE(deploy::without_lack_of_memory(found, 1).empty()) << "one was on another host";
}

// The journal works on while the next step begins: two failures may meet in one process within a millisecond.
TEST(CampaignReport, AnEndForLackOfMemoryThatAnotherFailureOvertakesIsNotMissed) {
  const auto found = outcomes_of({event(100, Event::FAILPOINT, "oom trainer/0@7:begin"),
                                  event(101, Event::FAILPOINT, "freeze journal/0@6:apply"),
                                  event(903, Event::PROCESS_LOST, "process 0 was silent for 0.72 s"),
                                  event(1000, Event::FAILPOINT, "oom stage/0@9:backward"),
                                  event(1001, Event::FAILPOINT, "delay stage/0@9:backward+3"),
                                  event(1002, Event::PROCESS_LOST, "process 0 was ended by signal 9 (SIGKILL)")});

  EXPECT_TRUE(found[0].was_overtaken);
  EXPECT_EQ(deploy::without_lack_of_memory(found, 0),
            std::vector<std::string>{"oom stage/0@9:backward (no end for lack of memory)"})
      << "what ends no process overtakes nobody";
}

TEST(CampaignReport, IsGoodIfAllWereWitnessedAndTheHashesAreEqual) {
  EXPECT_TRUE(result().is_good());
  CampaignResult other = result();
  other.hash = "cd";
  EXPECT_FALSE(other.is_good());
  EXPECT_THAT(campaign_table(other), HasSubstr("hash cd  quiet ab  equal NO"));
  other = result();
  other.unwitnessed = {"crash stage/0@99:begin"};
  EXPECT_FALSE(other.is_good());
  EXPECT_THAT(campaign_table(other), HasSubstr("not reached: crash stage/0@99:begin"));
  other = result();
  other.exit_code = 1;
  EXPECT_FALSE(other.is_good());
  other = result();
  other.hash = other.quiet_hash = "";
  EXPECT_FALSE(other.is_good());
}

TEST(CampaignReport, CountsLossesOfAllCopiesApart) {
  const std::string table = campaign_table(result());

  EXPECT_THAT(table, HasSubstr("crash     expert_shard     backward        1"));
  EXPECT_THAT(table, HasSubstr("all of processes                           2"));
  const auto json = nlohmann::json::parse(campaign_json(result()));
  EXPECT_EQ(json.at("failures").size(), 4u);
  EXPECT_EQ(json.at("processes").at("again_ms").at("max"), 50) << "the pair's is not among them";
  EXPECT_EQ(json.at("failures")[3].at("lost_state"), true);
}

TEST(CampaignReport, DrawsTheRecoveriesOfProcesses) {
  const std::string svg = recovery_svg(outcomes_of(events()));

  EXPECT_THAT(svg, HasSubstr("the step begun again: 1 losses"));
  EXPECT_THAT(svg, HasSubstr("<path d='M56.0"));
  EXPECT_THAT(deploy::recovery_svg({}), Not(HasSubstr("stroke='#2563eb'")));
}

}  // namespace
}  // namespace troupe::tests
