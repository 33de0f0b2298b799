#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/tokenizer/regex.h"

namespace troupe::runtime {

/// What a Split does with the matches of its pattern; the names are the tokenizer file's.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// One Split of a pre-tokenizer: cuts each piece of text on its own.
struct SplitStep {
  Regex pattern;
  SplitBehavior behavior;
  bool invert;  ///< what lies between the matches counts as the match

  /// Appends the pieces of `text`, none of them empty.
  void apply(std::string_view text, std::vector<std::string_view>& pieces) const;
};

/// The words of a text. The views point into the text, or into `owned` where a space was put before
/// a word.
struct Words {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

/// Cuts a text into the words inside which BPE merges: a list of Splits, then ByteLevel.
class PreTokenizer {
 public:
  struct Args {
    std::vector<SplitStep> steps;
    bool add_prefix_space;  ///< ByteLevel: a piece that begins with no space gets one
    bool byte_level_regex;  ///< ByteLevel: cuts by GPT-2's pattern, after the steps
  };
  explicit PreTokenizer(Args args);

  /// `text` is well-formed UTF-8 and outlives the result.
  Words split(std::string_view text) const;

 private:
  std::vector<SplitStep> steps_;
  bool add_prefix_space_;
  std::vector<SplitStep> byte_level_;  // none or one
};

}  // namespace troupe::runtime
