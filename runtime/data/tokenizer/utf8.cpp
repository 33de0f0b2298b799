#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

constexpr char32_t replacement = 0xFFFD;

/// The range of the second byte after a leading byte (Unicode standard, table 3-7), and the length.
struct LeadRule {
  std::size_t length;
  std::uint8_t second_low, second_high;
};

LeadRule rule_of(std::uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step decode_utf8(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(position);
  if (lead < 0x80) return {1, lead, true};
  const LeadRule rule = rule_of(lead);
  if (rule.length == 0) return {1, replacement, false};
  char32_t code_point = lead & (0x7F >> rule.length);
  for (std::size_t i = 1; i < rule.length; ++i) {
    if (position + i >= text.size()) return {i, replacement, false};
    const std::uint8_t next = byte(position + i);
    const std::uint8_t low = i == 1 ? rule.second_low : 0x80;
    const std::uint8_t high = i == 1 ? rule.second_high : 0xBF;
    if (next < low || next > high) return {i, replacement, false};
    code_point = (code_point << 6) | (next & 0x3F);
  }
  return {rule.length, code_point, true};
}

std::size_t find_invalid_utf8(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    if (static_cast<std::uint8_t>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const Utf8Step step = decode_utf8(text, position);
    if (!step.valid) return position;
    position += step.length;
  }
  return std::string_view::npos;
}

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const Utf8Step step = decode_utf8(text, position);
    if (step.valid) {
      result.append(text.substr(position, step.length));
    } else {
      append_utf8(result, replacement);
    }
    position += step.length;
  }
  return result;
}

void append_utf8(std::string& text, char32_t c) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace troupe::runtime
