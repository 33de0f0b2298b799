// A journal file: raw bytes, or payloads under frames that are right.
#include <cstdlib>

#include "runtime/cluster/journal/journal_format.h"
#include "tests/fuzz/framed.h"

using namespace troupe::runtime;

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
  check(troupe::tests::framed(journal_magic(), {data, size}, true));
  return 0;
}
