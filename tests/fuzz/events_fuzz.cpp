// An event log: raw bytes, payloads under frames that are right, and an event that is written.
#include <cstdlib>

#include "runtime/telemetry/event_format.h"
#include "tests/fuzz/framed.h"

using namespace troupe;
using namespace troupe::runtime;

/// Every byte is a whole record's, damage between them, or behind the last one.
static ParsedEvents parse(const std::string& log) {
  const ParsedEvents parsed =
      parse_events({reinterpret_cast<const uint8_t*>(log.data()), log.size()}, "events");
  uint64_t at = 0;
  for (const EventDamage& damage : parsed.damage) {
    if (damage.bytes == 0 || damage.offset < at) std::abort();
    at = damage.offset + damage.bytes;
  }
  if (at > parsed.valid_bytes || parsed.valid_bytes + parsed.torn_bytes != log.size()) std::abort();
  return parsed;
}

static void check(const std::string& log) {
  try {
    const ParsedEvents parsed = parse(log);
    if (parsed.valid_bytes == 0) return;
    const ParsedEvents whole = parse(log.substr(0, parsed.valid_bytes));
    if (whole.events.size() != parsed.events.size() || whole.torn_bytes != 0) std::abort();
  } catch (const EventLogError&) {
  }
}

/// What is written is read, whatever was to be written.
static void check_written(const uint8_t* data, size_t size) {
  wire::Event event;
  if (!event.ParseFromArray(data, static_cast<int>(size))) return;
  const std::string record = frame_event(event);
  const ParsedEvents parsed = parse(std::string(event_log_magic) + record + record);
  if (parsed.events.size() != 2 || !parsed.damage.empty()) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check(std::string(reinterpret_cast<const char*>(data), size));
  check(tests::framed(std::string(event_log_magic), {data, size}, false));
  check_written(data, size);
  return 0;
}
