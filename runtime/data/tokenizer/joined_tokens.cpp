#include "runtime/data/tokenizer/joined_tokens.h"

#include <string>
#include <string_view>

#include "runtime/data/tokenizer/regex.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

/// The parts of the token with these bytes, or nothing.
std::vector<std::int32_t> parts_of(const Tokenizer& tokenizer, const Regex& mark,
                                   std::string_view bytes) {
  const std::size_t line_break = bytes.find_first_of("\r\n");
  if (line_break == std::string_view::npos || line_break == 0) return {};
  if (find_invalid_utf8(bytes) != std::string_view::npos) return {};
  std::vector<TextPart> found;
  mark.split(bytes, found);
  if (found.size() == 1 && !found[0].is_match) return {};
  std::vector<std::int32_t> parts = tokenizer.encode(bytes.substr(0, line_break), false);
  const auto rest = tokenizer.encode(bytes.substr(line_break), false);
  parts.insert(parts.end(), rest.begin(), rest.end());
  // A pre-tokenizer that puts a space before a text would change what the document says.
  return tokenizer.decode(parts) == bytes ? parts : std::vector<std::int32_t>();
}

}  // namespace

JoinedTokens::JoinedTokens(const Tokenizer& tokenizer) {
  const Regex mark(R"([\p{P}\p{S}])", "tokens that join marks and line breaks");
  begins_.push_back(0);
  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.is_special(id)) {
      const auto parts = parts_of(tokenizer, mark, tokenizer.token_bytes(id));
      parts_.insert(parts_.end(), parts.begin(), parts.end());
    }
    begins_.push_back(static_cast<std::uint32_t>(parts_.size()));
  }
}

}  // namespace troupe::runtime
