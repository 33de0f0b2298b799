#include "runtime/telemetry/trace/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/own_folder.h"
#include "tests/runtime/telemetry/trace/traced_lists.h"

namespace troupe::tests {
namespace {

using namespace runtime;
namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class TraceFileTest : public testing::Test {
 protected:
  TraceFileTest() { write_trace_part(file_, part_); }
  ~TraceFileTest() override { fs::remove_all(folder_); }

  std::string text() const {
    std::ifstream in(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  /// The error of the file after a change; empty: none.
  template <class Change>
  std::string error_after(Change change) const {
    json all = json::parse(text());
    change(all);
    return error_of(all.dump());
  }
  static std::string error_of(const std::string& text) {
    try {
      parse_trace_part(text, "p.json");
    } catch (const TraceError& error) {
      return error.what();
    }
    return "";
  }
  /// The first event of a category.
  static json& event(json& all, const char* category) {
    for (json& each : all["traceEvents"]) {
      if (each.value("cat", "") == category) return each;
    }
    throw std::runtime_error("no such event");
  }

  const fs::path folder_ = own_folder();
  const fs::path file_ = folder_ / "process-1.json";
  const TracePart part_{{.process = 1, .processes = 2, .workers = 1, .ranks = 2, .stages = 2,
                         .schedule = "COMBINED_ONE_F_ONE_B", .boot = "b", .unix_minus_steady_ns = 1'700'000'000},
                        {second_rank(2), second_rank(3)}};
};

TEST_F(TraceFileTest, IsReadAsItWasWritten) {
  const TracePart read = read_trace_part(file_);

  EXPECT_EQ(read.origin, part_.origin);
  EXPECT_EQ(read.lists, part_.lists);
}

// Twelve years behind the start of a machine doubles of microseconds have no nanoseconds.
TEST_F(TraceFileTest, IsReadAsItWasWrittenHoweverLongTheMachineRuns) {
  TracePart late = part_;
  for (TracedList& list : late.lists) {
    const auto shift = [](int64_t& ns) { ns += 400'000'000'000'000'001; };
    shift(list.begin_ns);
    shift(list.end_ns);
    for (TracedOperation& each : list.operations) {
      shift(each.ready_ns);
      shift(each.begin_ns);
      shift(each.end_ns);
    }
  }
  write_trace_part(file_, late);

  EXPECT_EQ(read_trace_part(file_).lists, late.lists);
}

TEST_F(TraceFileTest, IsThereAloneWhenItIsWritten) {
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

// What viewers want: complete events that do not overlap in a row but stand within each other.
TEST_F(TraceFileTest, HasEventsOfTheFormatThatNestInTheirRows) {
  const json all = json::parse(text());

  std::map<int, std::vector<std::pair<double, double>>> rows;
  int waits = 0;
  for (const json& each : all.at("traceEvents")) {
    if (each.at("ph") == "M") continue;
    ASSERT_EQ(each.at("ph"), "X");
    EXPECT_EQ(each.at("pid"), 1);
    if (each.at("cat") == "wait") ++waits;
    rows[each.at("tid").get<int>()].push_back(
        {each.at("ts").get<double>(), each.at("ts").get<double>() + each.at("dur").get<double>()});
  }
  EXPECT_EQ(waits, 2);
  EXPECT_EQ(rows.size(), 2u) << "a rank's own, and what is played beside it";
  const auto& beside = rows.rbegin()->second;
  EXPECT_EQ(beside.size(), 2u);
  EXPECT_EQ(rows.begin()->second[0].first, 0) << "microseconds behind base_ns";
}

TEST_F(TraceFileTest, OfAnotherKindIsNamedWithWhatWasFound) {
  EXPECT_EQ(error_of(""), "p.json: found an empty file, wanted one of a trace");
  EXPECT_THAT(error_of("step 1  loss 3"), HasSubstr("p.json: found what is no JSON"));
  EXPECT_THAT(error_of("[1, 2]"), HasSubstr("found JSON that is an array"));
  EXPECT_EQ(error_of("{}"), "p.json: otherData: found nothing, wanted an object");
  EXPECT_EQ(error_of(R"({"traceEvents": [], "otherData": {}})"),
            "p.json: otherData.format: found nothing, wanted \"troupe trace\"");
  EXPECT_THAT(error_after([](json& all) { all["otherData"]["version"] = 2; }), HasSubstr("found 2, wanted 1"));
  EXPECT_THAT(error_after([](json& all) { all.erase("traceEvents"); }), HasSubstr("traceEvents: found nothing"));
}

TEST_F(TraceFileTest, CutAnywhereIsRefused) {
  const std::string whole = text();
  for (size_t length = 0; length < whole.size(); length += 1 + length / 16) {
    EXPECT_THAT(error_of(whole.substr(0, length)), HasSubstr("p.json: found ")) << length;
  }
}

// Nothing but an error comes of bytes that somebody has changed.
TEST_F(TraceFileTest, WithAnyByteChangedIsReadOrRefused) {
  const std::string whole = text();
  for (size_t at = 0; at < whole.size(); at += 3) {
    for (const char byte : {'9', '-', '"', '}', '\x80'}) {
      std::string changed = whole;
      changed[at] = byte;
      static_cast<void>(error_of(changed));
    }
  }
}

TEST_F(TraceFileTest, ThatMakesNoSenseIsRefused) {
  const auto operation = [&](auto change) {
    return error_after([&](json& all) { change(event(all, "operation")); });
  };

  EXPECT_THAT(operation([](json& e) { e["args"]["index"] = 4; }), HasSubstr("args.index: found 4, wanted less than 4"));
  EXPECT_THAT(operation([](json& e) { e["args"]["index"] = 1; }), HasSubstr("found 1 twice"));
  EXPECT_THAT(operation([](json& e) { e["args"]["stage"] = 2; }), HasSubstr("found 2, wanted less than 2"));
  EXPECT_THAT(operation([](json& e) { e["args"]["kind"] = "sideways"; }), HasSubstr("found \"sideways\""));
  EXPECT_THAT(operation([](json& e) { e["args"]["from_process"] = 2; }), HasSubstr("found 2, wanted a process"));
  EXPECT_THAT(operation([](json& e) { e["args"]["step"] = 9; }), HasSubstr("an operation of no list"));
  EXPECT_THAT(operation([](json& e) { e["ts"] = -1; }), HasSubstr("ts: found -1"));
  EXPECT_THAT(operation([](json& e) { e["ts"] = 1e300; }), HasSubstr("ts: found 1"));
  EXPECT_THAT(operation([](json& e) { e["dur"] = "long"; }), HasSubstr("wanted a number"));
  EXPECT_THAT(operation([](json& e) { e["cat"] = "other"; }), HasSubstr("found 3 operations, wanted 4"));
  EXPECT_THAT(operation([](json& e) { e["ts"] = 4.5; }), HasSubstr("step 2 of worker 0 rank 1: found operation"));
  EXPECT_THAT(error_after([](json& all) { event(all, "list")["args"]["operations"] = 1'000'000'000; }),
              HasSubstr("found 4 operations, wanted 1000000000"));
  EXPECT_THAT(error_after([](json& all) { event(all, "list")["args"]["step"] = 3; }), HasSubstr("a list twice"));
  EXPECT_THAT(error_after([](json& all) { all["otherData"]["schedule"] = "ZIGZAG"; }), HasSubstr("ZIGZAG"));
  const auto least = std::numeric_limits<int64_t>::min();
  EXPECT_THAT(error_after([&](json& all) { all["otherData"]["unix_minus_steady_ns"] = least; }),
              HasSubstr("found -9223372036854775808, wanted a whole number"));
  EXPECT_THAT(error_after([](json& all) { all["otherData"]["unix_minus_steady_ns"] = uint64_t{1} << 63; }),
              HasSubstr("found 9223372036854775808, wanted a whole number"));
  EXPECT_THAT(error_after([](json& all) { all["otherData"]["base_ns"] = -1; }), HasSubstr("base_ns: found -1"));
  EXPECT_THAT(error_after([](json& all) { all["otherData"].erase("base_ns"); }), HasSubstr("base_ns: found null"));
  EXPECT_THAT(error_after([](json& all) { all["traceEvents"].push_back(7); }), HasSubstr("found number, wanted"));
}

TEST_F(TraceFileTest, ThatIsNotThereIsNamed) {
  try {
    read_trace_part(folder_ / "process-7.json");
    FAIL() << "no error";
  } catch (const TraceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("process-7.json: No such file"));
  }
}

}  // namespace
}  // namespace troupe::tests
