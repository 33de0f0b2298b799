// What stages record of the lists they play: everything once, in order, and without a trace in the result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/model/stage.h"
#include "runtime/telemetry/trace/trace_file.h"
#include "tests/actors/spread_run.h"
#include "tests/actors/train/small_recipe.h"
#include "tests/own_folder.h"

namespace troupe::tests {
namespace {

using namespace actors;
namespace fs = std::filesystem;
using config::Parallel;
using Lists = std::map<std::tuple<int64_t, int, int>, runtime::TracedList>;  // by step, worker and rank

/// 4 steps of 8 micro-batches, of which the second and the third are recorded.
class StageTraceTest : public testing::Test {
 protected:
  StageTraceTest() {
    recipe_.steps = 4;
    recipe_.micro_batches = 8;
  }
  ~StageTraceTest() override { fs::remove_all(folder_); }

  BatchSource batches() const {
    return [this](uint64_t step) { return learnable_batches(recipe_, step); };
  }

  SpreadOutcome play(SpreadArgs args) {
    args.spoil = [&](Company& company) {
      runtime::TraceOrigin origin;
      origin.process = company.process;
      origin.processes = args.processes;
      origin.workers = company.plan.data;
      origin.ranks = config::ranks_of(company.plan.schedule, company.plan.pipeline);
      origin.stages = company.plan.pipeline;
      origin.schedule = Parallel::Schedule_Name(company.plan.schedule);
      company.trace = std::make_unique<runtime::TraceRecorder>(runtime::TraceRecorder::Args{
          .first_step = 2, .last_step = 3,
          .file = folder_ / ("process-" + std::to_string(company.process) + ".json"), .origin = origin});
    };
    return play_spread(args, recipe_, batches());
  }

  /// Of all processes. What a reader of traces refuses, as operations that overlap, is an error here, too.
  Lists recorded(const SpreadArgs& args) const {
    Lists lists;
    for (int p = 0; p < args.processes; ++p) {
      const fs::path file = folder_ / ("process-" + std::to_string(p) + ".json");
      for (auto& list : runtime::read_trace_part(file).lists) {
        const std::tuple key(list.step, list.worker, list.rank);
        EXPECT_TRUE(lists.emplace(key, std::move(list)).second) << "a list of two processes";
      }
    }
    return lists;
  }

  void expect_whole(const SpreadArgs& args, const Lists& lists) const {
    const config::Plan plan = spread_plan(args, recipe_);
    const int ranks = config::ranks_of(plan.schedule, plan.pipeline);
    ASSERT_EQ(lists.size(), static_cast<size_t>(2 * plan.data * ranks));
    for (const auto& [key, list] : lists) {
      const auto [step, worker, rank] = key;
      SCOPED_TRACE(fmt_of(step, worker, rank));
      const auto wanted =
          config::lists_of_step({.kind = plan.schedule, .stages = plan.pipeline,
                                 .micro_batches = plan.micro_batches[static_cast<size_t>(worker)]});
      ASSERT_EQ(list.operations.size(), wanted.of(rank).size());
      for (size_t i = 0; i < list.operations.size(); ++i) {
        EXPECT_EQ(list.operations[i].operation, wanted.of(rank)[i]);
        EXPECT_LT(list.operations[i].begin_ns, list.operations[i].end_ns);
      }
    }
  }

  static std::string fmt_of(int64_t step, int worker, int rank) {
    return "step " + std::to_string(step) + " worker " + std::to_string(worker) + " rank " + std::to_string(rank);
  }

  Recipe recipe_ = small_recipe();
  const fs::path folder_ = own_folder();
};

TEST_F(StageTraceTest, HasEveryOperationOfEveryListOnceAndLeavesTheHash) {
  const std::string wanted = play_plainly(recipe_, batches()).hash;
  for (const Layout& layout : {Layout{2, 2, 1, 2, 1, 2}, Layout{1, 2, 2, 2, 2, 2},
                               Layout{2, 2, 1, 2, 1, 2, Parallel::ZERO_BUBBLE},
                               Layout{2, 2, 1, 2, 1, 2, Parallel::DUALPIPE},
                               Layout{2, 2, 2, 2, 1, 2, Parallel::DUALPIPE_V},
                               Layout{2, 2, 1, 2, 1, 2, Parallel::COMBINED_ONE_F_ONE_B}}) {
    SCOPED_TRACE(to_string(layout));
    const SpreadArgs args{.layout = layout, .processes = 2};
    fs::remove_all(folder_);

    const SpreadOutcome outcome = play(args);

    EXPECT_EQ(outcome.hash, wanted) << outcome.error;
    expect_whole(args, recorded(args));
  }
}

TEST_F(StageTraceTest, KnowsWhatComesFromAnotherProcess) {
  const SpreadArgs args{.layout = {2, 2, 1, 2, 1, 2}, .processes = 2};
  play(args);

  const Lists lists = recorded(args);

  for (const auto& each : lists.at({2, 0, 1}).operations) {
    const bool is_forward = each.operation.kind == config::Operation::Kind::forward;
    EXPECT_EQ(each.from_process, is_forward ? 0 : -1);
    EXPECT_LE(each.ready_ns, each.begin_ns);
  }
  for (const auto& each : lists.at({2, 0, 0}).operations) {
    EXPECT_EQ(each.from_process, each.operation.kind == config::Operation::Kind::forward ? -1 : 1);
  }
}

// Of a step that is begun again the attempt that was committed is kept, by every rank.
TEST_F(StageTraceTest, OfAStepThatIsBegunAgainHasTheLastAttempt) {
  SpreadArgs args{.layout = {2, 2, 1, 2, 1, 2, Parallel::DUALPIPE}, .processes = 2};
  args.trouble.failpoints = {parse_failpoint(Fault::kill, "stage/0@2:backward"),
                             parse_failpoint(Fault::kill, "stage/1@3:forward")};

  const SpreadOutcome outcome = play(args);

  EXPECT_EQ(outcome.hash, play_plainly(recipe_, batches()).hash) << outcome.error;
  EXPECT_GE(outcome.count(wire::Event::FAILPOINT), 2);
  expect_whole(args, recorded(args));
}

}  // namespace
}  // namespace troupe::tests
