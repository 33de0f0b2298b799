#pragma once

#include <span>

namespace troupe::runtime {

/// Both ends included.
struct CodePointRange {
  char32_t first, last;
};

/// The code points that Unicode 15.0 to 16.0 added to a general category ('L', 'M', 'N', 'P', 'S';
/// empty for other letters). PCRE2 10.42 knows Unicode 14, the `tokenizers` library Unicode 16:
/// with these added, a text has the same words whichever PCRE2 reads it.
std::span<const CodePointRange> unicode_additions(char category);

}  // namespace troupe::runtime
