#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::runtime {

/// What stands at one position of a byte string.
struct Utf8Step {
  std::size_t length = 0;   ///< bytes of the code point, or of the ill-formed part to replace
  char32_t code_point = 0;  ///< U+FFFD where ill-formed
  bool valid = false;
};

/// Decodes the code point at `position` < text.size(). An ill-formed part is the longest prefix of
/// some well-formed sequence, at least one byte: the rule of the Unicode standard, section 3.9
/// ("maximal subpart"), and of Rust's and Python's lossy decoders.
Utf8Step decode_utf8(std::string_view text, std::size_t position);

/// The offset of the first byte that is not part of well-formed UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text);

/// `text` with each ill-formed part replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

void append_utf8(std::string& text, char32_t code_point);

}  // namespace troupe::runtime
