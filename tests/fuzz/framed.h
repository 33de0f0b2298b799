// Files of records under hashes that are right, which no chance would make.
#pragma once

#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace troupe::tests {

/// `magic`, then a record for each payload in `bytes`, where a payload is a length (one byte) and so
/// many bytes: length (u32), xxh3 (u64), payload. A chained hash is seeded with the one before.
inline std::string framed(std::string magic, std::span<const uint8_t> bytes, bool is_chained) {
  uint64_t hash = 0;
  while (!bytes.empty()) {
    const auto length = static_cast<uint32_t>(std::min<size_t>(bytes[0], bytes.size() - 1));
    const auto payload = bytes.subspan(1, length);
    hash = XXH3_64bits_withSeed(payload.data(), payload.size(), is_chained ? hash : 0);
    char header[12];
    std::memcpy(header, &length, sizeof length);
    std::memcpy(header + sizeof length, &hash, sizeof hash);
    magic.append(header, sizeof header);
    magic.append(reinterpret_cast<const char*>(payload.data()), payload.size());
    bytes = bytes.subspan(1 + length);
  }
  return magic;
}

}  // namespace troupe::tests
