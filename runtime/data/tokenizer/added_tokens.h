#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/data/tokenizer/regex.h"

namespace troupe::runtime {

/// A token that is found in the text before it is cut into words; the flags are the tokenizer
/// file's.
struct AddedToken {
  std::int32_t id;
  std::string content;
  bool special;      ///< found only where special tokens are parsed, and dropped from shown text
  bool single_word;  ///< only where no letter or digit stands next to it
  bool lstrip;       ///< takes the white space before it
  bool rstrip;       ///< takes the white space behind it
  bool normalized;   ///< looked for after all tokens that are not
};

/// A part of a text: an added token, or text between them (id -1).
struct TokenOrText {
  std::int32_t id;
  std::string_view text;
};

/// Finds added tokens from left to right, the longest at each place.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  /// Cuts `text`, well-formed UTF-8. Special tokens are text unless `parse_special`.
  std::vector<TokenOrText> split(std::string_view text, bool parse_special) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  /// The contents as a tree of bytes.
  struct Tree {
    struct Node {
      std::vector<std::pair<std::uint8_t, std::int32_t>> next;  // byte -> node
      std::int32_t token = -1;                                  // index into tokens_
    };
    std::vector<Node> nodes{Node{}};

    void add(std::string_view content, std::int32_t token);
    /// The token with the longest content that begins at `position`, or -1.
    std::int32_t longest(std::string_view text, std::size_t position) const;
  };

  void split_by(const Tree& tree, std::string_view text, bool parse_special,
                std::vector<TokenOrText>& parts) const;
  bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) const;

  std::vector<AddedToken> tokens_;
  Tree plain_, normalized_;
  Regex word_character_;
};

}  // namespace troupe::runtime
