#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::runtime {

/// A part of a text, and whether it is a match of the pattern or lies between two.
struct TextPart {
  std::size_t begin, end;  ///< bytes; `end` is not included
  bool is_match;
};

/// A regular expression as tokenizer files write it, run by PCRE2.
///
/// Throws TokenizerError, naming `place`, if the pattern is not understood. Matching is bounded: a
/// text on which a pattern would run away ends in a TokenizerError. Safe to use from many threads.
class Regex {
 public:
  Regex(std::string_view pattern, const std::string& place);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// All matches from left to right and what lies between them; `text` is well-formed UTF-8 and is
  /// covered completely. An empty match is skipped where the match before it ended.
  void split(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace troupe::runtime
