// A tokenizer.json: read, and used on a short text if it is accepted.
#include <cstdlib>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/utf8.h"

using namespace troupe::runtime;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string json(reinterpret_cast<const char*>(data), size);
    const Tokenizer tokenizer = Tokenizer::from_json(json, "tokenizer.json");
    const auto ids =
        tokenizer.encode("The h\u00fcte of 1234 \u4e2d<s>\n  x<\uff5cUser\uff5c>", true);
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocabulary_size()) std::abort();
    }
    if (find_invalid_utf8(tokenizer.decode(ids)) != std::string::npos) std::abort();
  } catch (const TokenizerError&) {
  }
  return 0;
}
