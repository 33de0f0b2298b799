#include "runtime/telemetry/trace/traced_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/telemetry/trace/traced_lists.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::ElementsAre;
using testing::HasSubstr;
using For = Pause::For;

TEST(PausesOf, TellWaitingForAMessageFromTheLanesTurn) {
  EXPECT_THAT(pauses_of(second_rank(), 1),
              ElementsAre(Pause{For::other_process, 100, 1'000, 0}, Pause{For::nothing, 1'000, 1'200},
                          Pause{For::nothing, 2'000, 2'100}, Pause{For::nothing, 8'500, 9'000}));
}

TEST(PausesOf, OfAMessageOfTheOwnProcessAreNoCommunication) {
  EXPECT_THAT(pauses_of(second_rank(), 0).front(), (Pause{For::same_process, 100, 1'000, 0}));
}

TEST(PausesOf, CountTheLaterMessageOfTwoSideBySide) {
  const TracedList list = list_of(1, 0, 0, 900, {traced({Kind::forward, 1, 0, true}, 0, 300, 500, 800),
                                                 traced({Kind::backward, 1, 1}, 2, 500, 500, 900)});

  EXPECT_THAT(pauses_of(list, 1), ElementsAre(Pause{For::other_process, 0, 500, 1}));
}

TEST(PausesOf, AreNoneForAMessageThatCameWhileTheLaneWasBusy) {
  const TracedList list = list_of(1, 0, 0, 900, {traced({Kind::forward, 0, 0}, -1, 0, 0, 500),
                                                 traced({Kind::backward, 0, 0}, 1, 200, 500, 900)});

  EXPECT_THAT(pauses_of(list, 0), testing::IsEmpty());
}

TEST(PausesOf, FillWithTheTurnsTheWholeList) {
  const TracedList list = second_rank();
  int64_t time = 0;
  for (const Pause& pause : pauses_of(list, 1)) time += pause.end_ns - pause.begin_ns;
  for (const PlayedTurn& turn : turns_of(list)) time += turn.end_ns - turn.begin_ns;

  EXPECT_EQ(time, list.end_ns - list.begin_ns);
}

TEST(TracedList, IsCompleteWhenAllHasEnded) {
  TracedList list = second_rank();
  EXPECT_TRUE(list.is_complete());

  list.operations[2].end_ns = 0;
  EXPECT_FALSE(list.is_complete());

  list = second_rank();
  list.end_ns = 0;
  EXPECT_FALSE(list.is_complete());
}

TEST(ObjectionToAList, IsToTimesThatCannotBe) {
  EXPECT_EQ(objection_to(second_rank()).found, "");
  const auto found = [](auto change) {
    TracedList list = second_rank();
    change(list);
    return objection_to(list).found;
  };

  EXPECT_THAT(found([](TracedList& l) { l.end_ns = 50; }), HasSubstr("ends before it begins"));
  EXPECT_THAT(found([](TracedList& l) { l.operations[3].begin_ns = 4'900; }),
              "operation 3 that begins before the one before it has ended");
  EXPECT_THAT(found([](TracedList& l) { l.operations[0].begin_ns = 50; }), HasSubstr("operation 0 outside"));
  EXPECT_THAT(found([](TracedList& l) { l.operations[0].end_ns = 1'100; }), HasSubstr("operation 0 outside"));
  EXPECT_THAT(found([](TracedList& l) { l.operations[3].operation.is_beside_next = true; }),
              HasSubstr("operation 3 beside one that is not there"));
  EXPECT_THAT(found([](TracedList& l) { l.operations[2].operation.is_beside_next = true; }),
              HasSubstr("operation 1 beside"));
}

}  // namespace
}  // namespace troupe::tests
