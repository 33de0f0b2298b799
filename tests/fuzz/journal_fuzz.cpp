// A journal file: raw bytes, or payloads under frames that are right, which no chance would make.
#include <xxhash.h>

#include <cstdlib>
#include <cstring>

#include "runtime/cluster/journal_format.h"

using namespace troupe::runtime;

/// A file whose records' payloads are `bytes`, each a length (one byte) and so many bytes.
static std::string framed(std::span<const uint8_t> bytes) {
  std::string file = journal_magic();
  uint64_t chain = 0;
  while (!bytes.empty()) {
    const auto length = static_cast<uint32_t>(std::min<size_t>(bytes[0], bytes.size() - 1));
    const auto payload = bytes.subspan(1, length);
    chain = XXH3_64bits_withSeed(payload.data(), payload.size(), chain);
    char header[12];
    std::memcpy(header, &length, 4);
    std::memcpy(header + 4, &chain, 8);
    file.append(header, sizeof header);
    file.append(reinterpret_cast<const char*>(payload.data()), payload.size());
    bytes = bytes.subspan(1 + length);
  }
  return file;
}

static ParsedJournal parse(const std::string& file, size_t size) {
  return parse_journal({reinterpret_cast<const uint8_t*>(file.data()), size}, "journal/1");
}

/// What a parsed file says is whole, is: parsed alone it gives the same.
static void check(const std::string& file) {
  try {
    const ParsedJournal parsed = parse(file, file.size());
    if (parsed.valid_bytes > file.size()) std::abort();
    if (!parsed.is_torn && parsed.valid_bytes != file.size()) std::abort();
    const ParsedJournal again = parse(file, parsed.valid_bytes);
    if (parsed.valid_bytes >= journal_magic().size() && again.is_torn) std::abort();
    if (again.entries.size() != parsed.entries.size() || again.chain != parsed.chain) std::abort();
  } catch (const JournalError&) {
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check(std::string(reinterpret_cast<const char*>(data), size));
  check(framed({data, size}));
  return 0;
}
