// The bytes of an event log, apart from files: a pure parser and writer.
//
// A log is the 8 bytes "TRPEVNT1", then records: payload length (u32), xxh3 of the payload (u64),
// payload (a wire.Event). Numbers are little-endian. Records stand for themselves: behind a damaged
// one the next whole one is found.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/proto/events.pb.h"

namespace troupe::runtime {

class EventLogError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr std::string_view event_log_magic = "TRPEVNT1";
/// No payload is longer.
constexpr uint32_t largest_event_bytes = 16384;

/// Bytes that are no record though one follows.
struct EventDamage {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct ParsedEvents {
  std::vector<wire::Event> events;
  std::vector<EventDamage> damage;
  uint64_t valid_bytes = 0;  ///< where the last whole record ends
  uint64_t torn_bytes = 0;   ///< what stands behind it: an append that was cut off, or goes on now
};

/// Parses a whole log; `name` stands for it in messages. Throws EventLogError if it is none. Bytes
/// that are only a part of the magic are a torn log.
ParsedEvents parse_events(std::span<const uint8_t> bytes, const std::string& name);

/// Parses records that begin at `offset` of a log, which the results count from the log's begin.
ParsedEvents parse_event_records(std::span<const uint8_t> bytes, uint64_t offset);

/// A record's bytes. Texts become valid UTF-8 and are cut so that the payload is not too long.
std::string frame_event(wire::Event event);

}  // namespace troupe::runtime
