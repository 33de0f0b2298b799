#include "runtime/data/tokenizer/regex_dialect.h"

#include <array>
#include <cctype>
#include <cstdio>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/unicode_additions.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

/// Unicode's White_Space property, and everything else, as the inside of a class.
constexpr std::string_view white_space =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view no_white_space =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

constexpr std::array<std::string_view, 9> groups = {"(?:", "(?=",  "(?!",  "(?<=", "(?<!",
                                                    "(?>", "(?i:", "(?i)", "(?-i:"};

std::string hexadecimal(std::uint32_t code_point) {
  char text[16];
  std::snprintf(text, sizeof text, "\\x{%x}", static_cast<unsigned>(code_point));
  return text;
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& place) : in_(pattern), place_(place) {}

  std::string run() {
    while (position_ < in_.size()) {
      const char c = in_[position_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_character(c);
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{') {
        interval();
      } else {
        copy(1);
      }
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& construct) const {
    throw TokenizerError(place_ + ": regular expression \"" + std::string(in_) + "\" uses " +
                         construct + ", which is not supported");
  }

  bool starts(std::string_view text) const { return in_.substr(position_).starts_with(text); }

  void copy(std::size_t count) {
    out_ += in_.substr(position_, count);
    position_ += count;
  }

  /// Writes `inside`, the inside of a class, where a class or a part of one is wanted.
  void put_set(std::string_view inside) {
    out_ += in_class_ ? std::string(inside) : "[" + std::string(inside) + "]";
  }

  void escape() {
    if (position_ + 1 >= in_.size()) refuse("a lone backslash at its end");
    const char c = in_[position_ + 1];
    if (c == 's' || c == 'S') {
      put_set(c == 's' ? white_space : no_white_space);
      position_ += 2;
    } else if (c == 'v') {
      out_ += "\\x{b}";
      position_ += 2;
    } else if (c == 'p' || c == 'P') {
      property();
    } else if (c == 'x' || c == 'u') {
      code_point(c);
    } else if (std::string_view("dDnrtfae").find(c) != std::string_view::npos ||
               std::ispunct(static_cast<unsigned char>(c)) || c == ' ') {
      copy(2);
    } else {
      refuse(std::string("\\") + c);
    }
  }

  /// \p{L}, \P{L}, \p{^L}, \p{Lu}, \p{Han}
  void property() {
    const std::size_t close = in_.find('}', position_);
    if (position_ + 2 >= in_.size() || in_[position_ + 2] != '{' ||
        close == std::string_view::npos) {
      refuse("\\p without {}");
    }
    const std::string_view name = in_.substr(position_ + 3, close - position_ - 3);
    const std::string_view whole = in_.substr(position_, close + 1 - position_);
    position_ = close + 1;
    const bool negated = whole[1] == 'P' || name.starts_with('^');
    const std::string_view category = name.starts_with('^') ? name.substr(1) : name;
    const auto added =
        category.size() == 1 ? unicode_additions(category[0]) : std::span<const CodePointRange>();
    if (added.empty() || (negated && in_class_) || (whole[1] == 'P' && name.starts_with('^'))) {
      out_ += whole;
      return;
    }
    std::string inside = "\\p{" + std::string(category) + "}";
    for (const auto& [first, last] : added) {
      inside += hexadecimal(first);
      if (last != first) inside += "-" + hexadecimal(last);
    }
    put_set(negated ? "^" + inside : inside);
  }

  /// \x41 (ASCII only: beyond it Oniguruma means a byte), \x{3042}, \u3042
  void code_point(char kind) {
    std::size_t begin = position_ + 2, length = kind == 'u' ? 4 : 2;
    std::size_t next = begin + length;
    if (kind == 'x' && begin < in_.size() && in_[begin] == '{') {
      const std::size_t close = in_.find('}', begin);
      if (close == std::string_view::npos || close - begin > 7) refuse("\\x{ without }");
      length = close - ++begin;
      next = close + 1;
    }
    const std::string digits(in_.substr(std::min(begin, in_.size()), length));
    if (digits.size() != length || digits.empty() ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      refuse(std::string("\\") + kind + " without hexadecimal digits");
    }
    const auto value = static_cast<std::uint32_t>(std::stoul(digits, nullptr, 16));
    if (next == begin + 2 && kind == 'x' && value > 0x7F) refuse("\\x" + digits);
    out_ += hexadecimal(value);
    position_ = next;
  }

  void open_class() {
    copy(1);
    if (starts("^")) copy(1);
    if (starts("]")) {  // first in a class it stands for itself
      out_ += "\\]";
      ++position_;
    }
    in_class_ = true;
  }

  void class_character(char c) {
    if (c == '[') refuse("[ inside a character class");
    if (starts("&&")) refuse("&& inside a character class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void open_group() {
    if (starts("(*")) refuse("(*");
    if (!starts("(?")) return copy(1);
    for (const std::string_view group : groups) {
      if (starts(group)) return copy(group.size());
    }
    refuse("the group " + std::string(in_.substr(position_, 4)));
  }

  /// {n}, {n,}, {n,m}, {,m}; any other brace stands for itself in both dialects.
  void interval() {
    const std::size_t close = in_.find('}', position_);
    const std::string_view inside =
        close == std::string_view::npos ? "" : in_.substr(position_ + 1, close - position_ - 1);
    const bool is_interval = !inside.empty() && inside != "," &&
                             inside.find_first_not_of("0123456789,") == std::string_view::npos &&
                             inside.find(',') == inside.rfind(',');
    if (!is_interval) {
      out_ += "\\{";
      ++position_;
      return;
    }
    out_ += inside[0] == ',' ? "{0" + std::string(inside) + "}"
                             : std::string(in_.substr(position_, close + 1 - position_));
    position_ = close + 1;
    if (starts("+")) refuse("a + behind an interval");
  }

  std::string_view in_;
  const std::string& place_;
  std::string out_;
  std::size_t position_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string to_pcre2_pattern(std::string_view pattern, const std::string& place) {
  if (find_invalid_utf8(pattern) != std::string_view::npos) {
    throw TokenizerError(place + ": regular expression is not valid UTF-8");
  }
  if (pattern.size() > 100'000) {
    throw TokenizerError(place + ": regular expression of " + std::to_string(pattern.size()) +
                         " bytes; at most 100000 are read");
  }
  return Translator(pattern, place).run();
}

}  // namespace troupe::runtime
