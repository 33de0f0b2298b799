#include "runtime/telemetry/printable.h"

#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {

std::string printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    const char32_t c = step.code_point;
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
      out += '?';
    } else {
      append_utf8(out, c);
    }
    at += step.length;
  }
  return out;
}

}  // namespace troupe::runtime
