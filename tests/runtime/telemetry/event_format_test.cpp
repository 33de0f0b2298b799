#include "runtime/telemetry/event_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/random.h"

namespace troupe::tests {
namespace {

using namespace runtime;
using testing::IsEmpty;
using testing::SizeIs;

wire::Event event_of(uint64_t step) {
  wire::Event event;
  event.set_unix_us(1'700'000'000'000'000 + step);
  event.set_kind(wire::Event::ACTOR_RESTARTED);
  event.set_actor("expert_shard/0.0.1");
  event.set_step(step);
  event.set_text("because");
  return event;
}

/// A log of `n` events, and where each of its records ends.
struct Sample {
  std::string bytes{event_log_magic};
  std::vector<size_t> ends;
};
Sample sample(uint64_t n) {
  Sample s;
  for (uint64_t step = 1; step <= n; ++step) {
    s.bytes += frame_event(event_of(step));
    s.ends.push_back(s.bytes.size());
  }
  return s;
}

std::span<const uint8_t> span_of(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}
ParsedEvents parse(const std::string& bytes) { return parse_events(span_of(bytes), "run/events"); }

TEST(EventFormat, GivesBackWhatWasWritten) {
  const Sample s = sample(3);

  const ParsedEvents parsed = parse(s.bytes);

  ASSERT_THAT(parsed.events, SizeIs(3));
  EXPECT_EQ(parsed.events[2].SerializeAsString(), event_of(3).SerializeAsString());
  EXPECT_EQ(parsed.valid_bytes, s.bytes.size());
  EXPECT_EQ(parsed.torn_bytes, 0u);
  EXPECT_THAT(parsed.damage, IsEmpty());
}

TEST(EventFormat, EveryCutLeavesTheWholeEventsBeforeIt) {
  const Sample s = sample(3);

  for (size_t size = 0; size < s.bytes.size(); ++size) {
    const ParsedEvents parsed = parse(s.bytes.substr(0, size));
    size_t whole = 0;
    for (const size_t end : s.ends) whole += end <= size;
    EXPECT_THAT(parsed.events, SizeIs(whole)) << "cut at " << size;
    EXPECT_EQ(parsed.valid_bytes + parsed.torn_bytes, size);
  }
}

TEST(EventFormat, BehindADamagedEventTheNextOneIsFound) {
  const Sample s = sample(3);

  for (size_t at = s.ends[0]; at < s.ends[1]; ++at) {
    std::string bytes = s.bytes;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    const ParsedEvents parsed = parse(bytes);
    ASSERT_THAT(parsed.events, SizeIs(2)) << "altered at " << at;
    EXPECT_EQ(parsed.events[1].step(), 3u);
    ASSERT_THAT(parsed.damage, SizeIs(1));
    EXPECT_EQ(parsed.damage[0].offset, s.ends[0]);
    EXPECT_EQ(parsed.damage[0].bytes, s.ends[1] - s.ends[0]);
  }
}

TEST(EventFormat, AFileOfSomethingElseIsRefused) {
  EXPECT_THROW(parse("TRPEVNT2"), EventLogError);
  EXPECT_THROW(parse("X"), EventLogError);
  EXPECT_THAT(parse("").events, IsEmpty());
}

TEST(EventFormat, LongAndIllFormedTextsFitAndAreRead) {
  wire::Event event;
  event.set_actor(std::string(5000, 'a'));
  std::string text = "\xff\x1b";
  for (int i = 0; i < 100'000; ++i) text += "\xe2\x82\xac";
  event.set_text(text);

  const std::string record = frame_event(event);
  const ParsedEvents parsed = parse(std::string(event_log_magic) + record);

  EXPECT_LE(record.size(), largest_event_bytes + 12u);
  ASSERT_THAT(parsed.events, SizeIs(1));
  EXPECT_EQ(parsed.events[0].unix_us(), 1u);
  EXPECT_EQ(parsed.events[0].text().substr(0, 4), "\xef\xbf\xbd\x1b");
  EXPECT_GT(parsed.events[0].text().size(), 11'000u);
}

TEST(EventFormat, RandomDamageNeverLosesWhatItDoesNotTouch) {
  const Sample s = sample(40);
  uint64_t draws = 0;
  const auto below = [&](uint64_t n) {
    return kernels::random_below({5, kernels::Purpose::test, 0, draws++}, n);
  };
  for (int round = 0; round < 300; ++round) {
    std::string bytes = s.bytes;
    std::set<size_t> touched;
    for (int i = 0; i < 5; ++i) {
      const size_t at = event_log_magic.size() + below(bytes.size() - event_log_magic.size());
      bytes[at] = static_cast<char>(bytes[at] ^ static_cast<char>(1 + below(255)));
      touched.insert(
          static_cast<size_t>(std::upper_bound(s.ends.begin(), s.ends.end(), at) - s.ends.begin()));
    }
    std::set<uint64_t> seen;
    for (const wire::Event& event : parse(bytes).events) seen.insert(event.step());
    for (size_t i = 0; i < s.ends.size(); ++i) {
      EXPECT_TRUE(seen.contains(i + 1) || touched.contains(i)) << "round " << round << ", " << i;
    }
  }
}

}  // namespace
}  // namespace troupe::tests
