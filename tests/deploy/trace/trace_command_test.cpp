#include "deploy/trace/trace_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/deploy/trace/made_trace.h"
#include "tests/program.h"

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class TraceCommandTest : public ProgramTest {
 protected:
  /// A run folder with a made trace.
  void make_trace(const MadeTrace& made = {}) {
    for (const deploy::NamedPart& each : make_parts(made)) {
      runtime::write_trace_part(folder_ / "run/trace" / each.file, each.part);
    }
  }
  void write(const std::string& file, const std::string& text) const { std::ofstream(folder_ / file) << text; }
};

TEST_F(TraceCommandTest, TellsWhatARunsFolderHas) {
  make_trace({.steps = {2, 3}});

  ASSERT_EQ(troupe("trace run --svg timeline.svg --json merged.json --step 2"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("2 steps, 2 to 3: ONE_F_ONE_B"));
  EXPECT_THAT(output_, HasSubstr("0.1 in process 1"));
  EXPECT_THAT(output_, HasSubstr("timeline    timeline.svg"));
  EXPECT_THAT(read_file(folder_ / "timeline.svg"), HasSubstr("2 stages, step 2, data worker 0"));
  EXPECT_THAT(read_file(folder_ / "merged.json"), HasSubstr("traceEvents"));
  const std::string table = output_;
  ASSERT_EQ(troupe("trace run/trace/process-1.json run/trace/process-0.json"), 0) << output_;
  EXPECT_EQ(output_, table.substr(0, table.find("timeline"))) << "whatever the order";
}

TEST_F(TraceCommandTest, NamesWhatIsWrongAndWhatWasWanted) {
  const auto said = [&](const std::string& arguments) {
    EXPECT_EQ(troupe("trace " + arguments), 1) << output_;
    return output_;
  };
  EXPECT_THAT(said("nowhere"), HasSubstr("nowhere: found no such file or folder, wanted a run folder"));
  fs::create_directories(folder_ / "run/trace");
  EXPECT_THAT(said("run"), HasSubstr("run/trace: found no process-N.json, wanted those of a run with cluster.trace"));
  write("run/trace/process-0.json", "");
  EXPECT_THAT(said("run"), HasSubstr("run/trace/process-0.json: found an empty file"));
  make_trace();
  const std::string whole = read_file(folder_ / "run/trace/process-1.json");
  write("run/trace/process-1.json", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(said("run"), HasSubstr("run/trace/process-1.json: found what is no JSON, or was cut short"));
  write("run/trace/process-1.json", R"({"traceEvents": []})");
  EXPECT_THAT(said("run"), HasSubstr("process-1.json: otherData: found nothing, wanted an object"));
  EXPECT_THAT(said("run/trace/process-0.json"), HasSubstr("found 1 of 2 processes"));
  make_trace();
  EXPECT_THAT(said("run --step 9"), HasSubstr("--step 9: found steps 2 to 2, wanted one of them"));
  EXPECT_THAT(said("run --worker 1"), HasSubstr("--worker 1: wanted 0 to 0"));
  EXPECT_EQ(troupe("trace"), 2);
}

// The whole way: what is recorded changes no bit, and all of the run's lists are there.
TEST_F(TraceCommandTest, OfARealRunHasEveryRankAndLeavesTheHash) {
  const std::string layout = "--set parallel.pipeline=2 --set parallel.data=1 --set train.steps=4 "
                             "--set train.optimizer.decay=CONSTANT ";
  ASSERT_EQ(troupe(train(layout)), 0) << output_;
  const std::string hash = trained_hash(4);
  EXPECT_FALSE(fs::exists(folder_ / "run/trace")) << "nobody asked";
  fs::remove_all(folder_ / "run");
  int code = troupe(train(layout + "--nodes 2 --set cluster.trace.steps=2"));
  const bool is_spread = output_.find("no UCX") == std::string::npos;
  if (!is_spread) {
    fs::remove_all(folder_ / "run");
    code = troupe(train(layout + "--set cluster.trace.steps=2"));
  }
  ASSERT_EQ(code, 0) << output_;
  EXPECT_EQ(trained_hash(4), hash);

  ASSERT_EQ(troupe("trace run --svg timeline.svg"), 0) << output_;

  EXPECT_THAT(output_, HasSubstr("2 steps, 2 to 3: "));
  EXPECT_THAT(output_, HasSubstr(is_spread ? "0.1 in process 1" : "0.1 in process 0"));

  ASSERT_EQ(troupe("train --resume run --set train.steps=5"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("note: nothing is recorded: cluster.trace wants steps 2 to 3, the run goes on behind "
                                 "step 4 (cluster.trace.after_steps)"));
}

}  // namespace
}  // namespace troupe::tests
