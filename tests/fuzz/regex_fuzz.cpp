// A pre-tokenizer's pattern, and a text that it splits.
#include <cstdlib>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/regex.h"
#include "runtime/data/tokenizer/utf8.h"

using namespace troupe::runtime;

/// The pattern ends at the first zero byte; both are UTF-8, as JSON has them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), input.size());
  const std::string pattern = to_valid_utf8(input.substr(0, end));
  const std::string text = to_valid_utf8(input.substr(std::min(end + 1, size)).substr(0, 32));
  try {
    std::vector<TextPart> parts;
    Regex(pattern, "pattern").split(text, parts);
    size_t at = 0;  // parts that are not empty lie end to end and cover the text
    for (const TextPart& part : parts) {
      if (part.begin != at || part.end < part.begin || part.end > text.size()) std::abort();
      at = part.end;
    }
    if (at != text.size()) std::abort();
  } catch (const TokenizerError&) {
  }
  return 0;
}
