#include "runtime/telemetry/event_format.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

constexpr size_t header_bytes = sizeof(uint32_t) + sizeof(uint64_t);
/// An event's first field is its time, which is never 0: so every payload begins with this tag. A
/// search behind damage hashes only where it stands.
constexpr uint8_t first_byte = 0x08;
/// Of an actor's name, and of the text, in a record.
constexpr size_t most_name_bytes = 1024, most_text_bytes = 12000;

/// Bytes of the record that `bytes` begins with; 0: it begins with none, or only with a part of
/// one.
size_t read_record(std::span<const uint8_t> bytes, wire::Event& event) {
  if (bytes.size() <= header_bytes || bytes[header_bytes] != first_byte) return 0;
  uint32_t length = 0;
  uint64_t hash = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  std::memcpy(&hash, bytes.data() + sizeof length, sizeof hash);
  const std::span<const uint8_t> payload = bytes.subspan(header_bytes);
  if (length == 0 || length > largest_event_bytes || length > payload.size()) return 0;
  if (XXH3_64bits(payload.data(), length) != hash) return 0;
  if (!event.ParseFromArray(payload.data(), static_cast<int>(length))) return 0;
  return event.unix_us() != 0 ? header_bytes + length : 0;
}

/// Valid UTF-8 of at most `most` bytes.
std::string fitting(const std::string& text, size_t most) {
  std::string valid = to_valid_utf8(text);
  if (valid.size() <= most) return valid;
  while (most > 0 && (static_cast<uint8_t>(valid[most]) & 0xC0u) == 0x80u) --most;
  valid.resize(most);
  return valid;
}

}  // namespace

ParsedEvents parse_event_records(std::span<const uint8_t> bytes, uint64_t offset) {
  ParsedEvents parsed;
  size_t at = 0, valid = 0;
  while (at < bytes.size()) {
    wire::Event event;
    const size_t size = read_record(bytes.subspan(at), event);
    if (size == 0) {
      ++at;  // a whole record may begin anywhere behind damage
      continue;
    }
    if (at > valid) parsed.damage.push_back({offset + valid, at - valid});
    parsed.events.push_back(std::move(event));
    at += size;
    valid = at;
  }
  parsed.valid_bytes = offset + valid;
  parsed.torn_bytes = bytes.size() - valid;
  return parsed;
}

ParsedEvents parse_events(std::span<const uint8_t> bytes, const std::string& name) {
  const size_t begin = std::min(bytes.size(), event_log_magic.size());
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                  event_log_magic.begin())) {
    throw EventLogError(name + " is no event log: it does not begin with " +
                        std::string(event_log_magic));
  }
  if (begin < event_log_magic.size()) {
    ParsedEvents torn;
    torn.torn_bytes = begin;
    return torn;
  }
  return parse_event_records(bytes.subspan(begin), begin);
}

std::string frame_event(wire::Event event) {
  event.set_unix_us(std::max<uint64_t>(event.unix_us(), 1));
  event.set_actor(fitting(event.actor(), most_name_bytes));
  event.set_text(fitting(event.text(), most_text_bytes));
  event.DiscardUnknownFields();
  const std::string payload = event.SerializeAsString();
  const auto length = static_cast<uint32_t>(payload.size());
  const uint64_t hash = XXH3_64bits(payload.data(), payload.size());
  std::string record(header_bytes, '\0');
  std::memcpy(record.data(), &length, sizeof length);
  std::memcpy(record.data() + sizeof length, &hash, sizeof hash);
  return record + payload;
}

}  // namespace troupe::runtime
