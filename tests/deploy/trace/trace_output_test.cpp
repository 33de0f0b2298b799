#include "deploy/trace/trace_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/text/errors.h"
#include "tests/deploy/trace/made_trace.h"

namespace troupe::tests {
namespace {

using namespace deploy;
using testing::HasSubstr;

TEST(DrawTrace, HasTheMeasuredStepAboveTheSimulatedOne) {
  const MergedTrace trace = merge_parts(make_parts({}));

  const std::string svg = draw_trace(trace, trace.steps[0], 0);

  const size_t measured = svg.find("measured: 15 ms"), simulated = svg.find("simulated with");
  ASSERT_NE(simulated, std::string::npos);
  EXPECT_LT(measured, simulated);
  EXPECT_THAT(svg, HasSubstr("waits for another process"));
  EXPECT_THAT(svg, HasSubstr("time in milliseconds"));
}

TEST(DrawTrace, RefusesListsThatWaitForEachOther) {
  auto parts = make_parts({});
  auto& operations = parts[1].part.lists[0].operations;
  std::swap(operations.front().operation, operations.back().operation);
  const MergedTrace trace = merge_parts(parts);

  EXPECT_THROW(draw_trace(trace, trace.steps[0], 0), config::ConfigError);
}

TEST(MergedEvents, HaveAllProcessesByOneClockFromZero) {
  const auto parts = make_parts({.steps = {2, 3}});
  const auto all = nlohmann::json::parse(merged_events(parts, use_of_ranks(merge_parts(parts))));

  int operations = 0;
  double least = 1e300;
  std::set<int> processes;
  for (const auto& event : all.at("traceEvents")) {
    processes.insert(event.at("pid").get<int>());
    if (event.at("ph") != "X") continue;
    least = std::min(least, event.at("ts").get<double>());
    operations += event.at("cat") == "operation";
  }
  EXPECT_EQ(least, 0);
  EXPECT_EQ(operations, 2 * 2 * 8);
  EXPECT_EQ(processes.size(), 2u);
  EXPECT_EQ(all.at("otherData").at("ranks").size(), 2u);
}

}  // namespace
}  // namespace troupe::tests
