// JSON Lines as data, and the same bytes as a plain text that is cut into documents.
#include <cstdlib>

#include "runtime/data/error.h"
#include "runtime/data/jsonl.h"
#include "runtime/data/text_documents.h"
#include "runtime/data/tokenizer/utf8.h"

using namespace troupe::runtime;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    // What is accepted can be encoded: it is UTF-8.
    for (const Document& document : read_jsonl(text, "a.jsonl")) {
      for (const auto& turn : document.turns) {
        if (find_invalid_utf8(turn.text) != std::string::npos) std::abort();
      }
    }
  } catch (const DataError&) {
  }
  const std::string valid = to_valid_utf8(text);
  if (find_invalid_utf8(valid) != std::string::npos) std::abort();
  for (const char* name : {"a.dict", "a.txt"}) {
    for (const auto part : split_documents(name, valid)) {
      if (part.empty() || find_invalid_utf8(part) != std::string::npos) std::abort();
    }
  }
  for (const auto part : split_paragraphs(valid, 8, 32)) {
    if (part.empty() || find_invalid_utf8(part) != std::string::npos) std::abort();
  }
  return 0;
}
