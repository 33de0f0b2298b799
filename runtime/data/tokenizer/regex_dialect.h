#pragma once

#include <string>
#include <string_view>

namespace troupe::runtime {

/// Rewrites a pattern of the Oniguruma dialect, in which tokenizer files are written, so that PCRE2
/// means the same by it: white space is Unicode's White_Space property (PCRE2 adds U+180E), `\v` is
/// one character, `{,n}` a quantifier, and general categories have the code points of Unicode 16.
///
/// What has another meaning in PCRE2 and is not rewritten (`\w`, `\b`, `\h`, back references,
/// nested classes, class intersections, possessive intervals, inline flags other than `i`) is
/// refused with a TokenizerError that names `place` and the construct.
std::string to_pcre2_pattern(std::string_view pattern, const std::string& place);

}  // namespace troupe::runtime
