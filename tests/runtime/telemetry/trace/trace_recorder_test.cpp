#include "runtime/telemetry/trace/trace_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "runtime/telemetry/trace/trace_file.h"
#include "tests/own_folder.h"
#include "tests/runtime/telemetry/trace/traced_lists.h"

namespace troupe::tests {
namespace {

using namespace runtime;
namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// As a rank begins it: without times but its own.
TracedList begun(int64_t step, int rank = 1) {
  TracedList list = second_rank(step);
  list.rank = rank;
  list.end_ns = 0;
  for (TracedOperation& each : list.operations) each.ready_ns = each.begin_ns = each.end_ns = 0;
  return list;
}

/// Tells what second_rank() says.
void play(ListRecording& recording) {
  recording.arrived(true, 1, 0, 1'000);
  recording.began(0, 1'200);
  recording.arrived(true, 1, 1, 1'500);
  recording.ended(0, 2'000);
  recording.began(1, 2'100);
  recording.began(2, 2'100);
  recording.ended(1, 4'000);
  recording.ended(2, 5'000);
  recording.began(3, 5'000);
  recording.ended(3, 8'500);
  recording.list_ended(9'000);
}

class TraceRecorderTest : public testing::Test {
 protected:
  ~TraceRecorderTest() override { fs::remove_all(folder_); }

  TracePart written() const { return read_trace_part(file_); }

  const fs::path folder_ = own_folder();
  const fs::path file_ = folder_ / "trace" / "process-1.json";
  const TraceOrigin origin_{.process = 1, .processes = 2, .workers = 1, .ranks = 2, .stages = 2,
                            .schedule = "ONE_F_ONE_B", .boot = "b", .unix_minus_steady_ns = 5};
  TraceRecorder recorder_{{.first_step = 2, .last_step = 3, .file = file_, .origin = origin_}};
};

TEST_F(TraceRecorderTest, TakesTheStepsThatAreWanted) {
  EXPECT_EQ(recorder_.begin(begun(1)), nullptr);
  EXPECT_NE(recorder_.begin(begun(2)), nullptr);
  EXPECT_NE(recorder_.begin(begun(3)), nullptr);
  EXPECT_EQ(recorder_.begin(begun(4)), nullptr);
}

TEST_F(TraceRecorderTest, AMessageThatIsThereBeforeTheListIsReadyWhenThatBegins) {
  const auto recording = recorder_.begin(begun(2));

  for (const TracedOperation& each : recording->get().operations) EXPECT_EQ(each.ready_ns, 100);
}

TEST_F(TraceRecorderTest, WritesWhatIsCommittedAfterTheLastStep) {
  play(*recorder_.begin(begun(2)));
  EXPECT_FALSE(recorder_.committed(2));
  play(*recorder_.begin(begun(3)));
  EXPECT_TRUE(recorder_.committed(3));

  EXPECT_EQ(recorder_.write(), "");

  EXPECT_THAT(written().lists, ElementsAre(second_rank(2), second_rank(3)));
  EXPECT_EQ(written().origin, origin_);
  EXPECT_FALSE(recorder_.committed(4)) << "it is written already";
}

TEST_F(TraceRecorderTest, AStepThatIsBegunAgainIsWhatItWasInTheEnd) {
  const auto given_up = recorder_.begin(begun(2));
  given_up->began(0, 150);
  const auto again = recorder_.begin(begun(2));
  given_up->ended(0, 8'000);  // its lane comes to it later
  play(*again);
  recorder_.committed(3);
  recorder_.write();

  EXPECT_THAT(written().lists, ElementsAre(second_rank(2)));
}

TEST_F(TraceRecorderTest, WhatIsNotCommittedOrNotWholeIsNotWritten) {
  play(*recorder_.begin(begun(2)));
  recorder_.begin(begun(2, 0));
  play(*recorder_.begin(begun(3)));
  recorder_.committed(2);

  EXPECT_EQ(recorder_.write(), "");

  EXPECT_THAT(written().lists, ElementsAre(second_rank(2)));
}

TEST_F(TraceRecorderTest, WhatAnotherPartOfTheRunHasLeftGoesWhenTheFirstStepBegins) {
  const fs::path other = file_.parent_path() / "process-2.json";
  for (const fs::path& old : {file_, other}) write_trace_part(old, {origin_, {second_rank(2)}});
  TraceRecorder recorder({.first_step = 2, .last_step = 3, .file = file_, .origin = origin_, .others = {other}});

  recorder.begin(begun(1));
  EXPECT_TRUE(fs::exists(file_) && fs::exists(other)) << "none of it is wanted yet";
  recorder.begin(begun(2));
  EXPECT_FALSE(fs::exists(file_) || fs::exists(other));
}

TEST_F(TraceRecorderTest, IsWrittenWhenAPlaceCanBeWrittenAgain) {
  const fs::path folder = file_.parent_path();
  fs::create_directories(folder_);
  std::ofstream(folder) << "no folder";
  play(*recorder_.begin(begun(2)));
  recorder_.committed(3);
  EXPECT_THAT(recorder_.write(), HasSubstr("the trace is not written: "));
  fs::remove(folder);

  EXPECT_EQ(recorder_.write(), "");
  EXPECT_THAT(written().lists, ElementsAre(second_rank(2)));
  EXPECT_EQ(recorder_.begin(begun(3)), nullptr) << "all is written";
}

TEST_F(TraceRecorderTest, WithoutAListThereIsNoFile) {
  recorder_.committed(3);

  EXPECT_EQ(recorder_.write(), "");

  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(TraceRecorderTest, SaysWhatIsWrongWithAPlaceThatCannotBeWritten) {
  TraceRecorder nowhere({.first_step = 2, .last_step = 2, .file = "/dev/null/process-0.json", .origin = origin_});
  play(*nowhere.begin(begun(2)));
  nowhere.committed(2);

  EXPECT_THAT(nowhere.write(), HasSubstr("the trace is not written: "));
}

}  // namespace
}  // namespace troupe::tests
