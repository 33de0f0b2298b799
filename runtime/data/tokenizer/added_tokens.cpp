#include "runtime/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

/// A letter, mark, digit, connector or joiner: `\w` of Unicode's technical standard 18, annex C.
constexpr std::string_view word_character =
    R"([\p{Alphabetic}\p{L}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])";

/// Unicode's White_Space property.
bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

/// Where the code point begins that ends at `end` > 0.
std::size_t previous_code_point(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<std::uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

std::size_t before_white_space(std::string_view text, std::size_t end) {
  while (end > 0) {
    const std::size_t begin = previous_code_point(text, end);
    if (!is_white_space(decode_utf8(text, begin).code_point)) break;
    end = begin;
  }
  return end;
}

std::size_t behind_white_space(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    const Utf8Step step = decode_utf8(text, begin);
    if (!is_white_space(step.code_point)) break;
    begin += step.length;
  }
  return begin;
}

}  // namespace

void AddedTokenFinder::Tree::add(std::string_view content, std::int32_t token) {
  std::int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<std::uint8_t>(c);
    auto& next = nodes[node].next;
    const auto found = std::find_if(next.begin(), next.end(),
                                    [&](const auto& edge) { return edge.first == byte; });
    if (found != next.end()) {
      node = found->second;
      continue;
    }
    const auto added = static_cast<std::int32_t>(nodes.size());
    next.emplace_back(byte, added);
    nodes.emplace_back();
    node = added;
  }
  nodes[node].token = token;
}

std::int32_t AddedTokenFinder::Tree::longest(std::string_view text, std::size_t position) const {
  std::int32_t node = 0, token = -1;
  for (; position < text.size(); ++position) {
    const auto byte = static_cast<std::uint8_t>(text[position]);
    const auto& next = nodes[node].next;
    const auto found = std::find_if(next.begin(), next.end(),
                                    [&](const auto& edge) { return edge.first == byte; });
    if (found == next.end()) break;
    node = found->second;
    if (nodes[node].token >= 0) token = nodes[node].token;
  }
  return token;
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), word_character_(word_character, "added_tokens") {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].content.empty()) continue;
    (tokens_[i].normalized ? normalized_ : plain_).add(tokens_[i].content, static_cast<int>(i));
  }
}

std::vector<TokenOrText> AddedTokenFinder::split(std::string_view text, bool parse_special) const {
  std::vector<TokenOrText> parts;
  split_by(plain_, text, parse_special, parts);
  if (normalized_.nodes.size() == 1) return parts;
  std::vector<TokenOrText> finer;
  for (const TokenOrText& part : parts) {
    if (part.id >= 0) {
      finer.push_back(part);
    } else {
      split_by(normalized_, part.text, parse_special, finer);
    }
  }
  return finer;
}

void AddedTokenFinder::split_by(const Tree& tree, std::string_view text, bool parse_special,
                                std::vector<TokenOrText>& parts) const {
  std::size_t covered = 0;
  for (std::size_t position = 0; position < text.size();) {
    const std::int32_t index = tree.longest(text, position);
    if (index < 0) {
      ++position;
      continue;
    }
    const AddedToken& token = tokens_[index];
    std::size_t begin = position, end = position + token.content.size();
    position = end;  // also where the match is not taken, as in the reference
    if (token.special && !parse_special) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(before_white_space(text, begin), covered);
    if (token.rstrip) end = behind_white_space(text, end);
    if (covered < begin) parts.push_back({-1, text.substr(covered, begin - covered)});
    parts.push_back({token.id, text.substr(begin, end - begin)});
    covered = end;
  }
  if (covered < text.size()) parts.push_back({-1, text.substr(covered)});
}

bool AddedTokenFinder::stands_alone(std::string_view text, std::size_t begin,
                                    std::size_t end) const {
  const auto is_word = [&](std::size_t position) {
    std::vector<TextPart> parts;
    const std::size_t length = decode_utf8(text, position).length;
    word_character_.split(text.substr(position, length), parts);
    return parts.size() == 1 && parts[0].is_match;
  };
  if (begin > 0 && is_word(previous_code_point(text, begin))) return false;
  return end == text.size() || !is_word(end);
}

}  // namespace troupe::runtime
