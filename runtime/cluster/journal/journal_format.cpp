#include "runtime/cluster/journal/journal_format.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace troupe::runtime {
namespace {

constexpr size_t header_bytes = sizeof(uint32_t) + sizeof(uint64_t);
/// A record holds a step's loads and bias; this is far above any.
constexpr uint32_t largest_record = 64u << 20;

template <class T>
T read_number(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

bool is_zero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

}  // namespace

std::string journal_magic() { return "TRPJRNL1"; }

std::string frame_entry(const wire::JournalEntry& entry, uint64_t& chain) {
  const std::string payload = entry.SerializeAsString();
  chain = XXH3_64bits_withSeed(payload.data(), payload.size(), chain);
  const auto length = static_cast<uint32_t>(payload.size());
  std::string bytes(header_bytes, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  std::memcpy(bytes.data() + sizeof length, &chain, sizeof chain);
  return bytes + payload;
}

ParsedJournal parse_journal(std::span<const uint8_t> bytes, const std::string& name) {
  ParsedJournal parsed;
  const std::string magic = journal_magic();
  if (bytes.size() < magic.size()) {
    parsed.is_torn = true;  // cut off while it was made
    return parsed;
  }
  if (std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
    throw JournalError(name + " is no journal: it does not begin with " + magic);
  }
  size_t at = magic.size();
  parsed.valid_bytes = at;
  while (at < bytes.size()) {
    const std::span<const uint8_t> rest = bytes.subspan(at);
    parsed.is_torn = true;
    if (rest.size() < header_bytes || is_zero(rest)) return parsed;
    const auto length = read_number<uint32_t>(rest.data());
    const auto expected = read_number<uint64_t>(rest.data() + sizeof(uint32_t));
    if (length <= largest_record && rest.size() - header_bytes < length) return parsed;
    wire::JournalEntry entry;
    const uint8_t* payload = rest.data() + header_bytes;
    const bool is_whole =
        length <= largest_record && length > 0 &&
        XXH3_64bits_withSeed(payload, length, parsed.chain) == expected &&
        entry.ParseFromArray(payload, static_cast<int>(length)) &&
        entry.entry_case() != wire::JournalEntry::ENTRY_NOT_SET;
    if (!is_whole) {
      if (length <= largest_record && rest.size() == header_bytes + length) return parsed;
      throw JournalError(name + " is damaged at byte " + std::to_string(at) + " of " +
                         std::to_string(bytes.size()));
    }
    parsed.is_torn = false;
    parsed.chain = expected;
    at += header_bytes + length;
    parsed.valid_bytes = at;
    parsed.entries.push_back(std::move(entry));
  }
  return parsed;
}

}  // namespace troupe::runtime
