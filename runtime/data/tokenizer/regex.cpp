#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/data/tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/regex_dialect.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

/// Steps of one match: enough for going through a text a few times, forth and back.
std::uint32_t match_limit(std::size_t text_bytes) {
  constexpr std::size_t most = 4'000'000'000;
  return static_cast<std::uint32_t>(std::min(most, 10'000'000 + 16 * text_bytes));
}

constexpr std::size_t jit_stack_bytes = 4 << 20;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

/// What a match writes into: one for each thread.
struct MatchSpace {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, jit_stack_bytes, nullptr);

  MatchSpace() {
    pcre2_set_heap_limit(context, 256 << 10);  // KiB
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchSpace() {
    pcre2_match_data_free(data);
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
  }
};

}  // namespace

struct Regex::Compiled {
  pcre2_code* code;
  std::string place;
  ~Compiled() { pcre2_code_free(code); }

  /// Finds the next match at or after `from`.
  bool find(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end) const {
    thread_local MatchSpace space;
    pcre2_set_match_limit(space.context, match_limit(text.size()));
    const int count = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  from, PCRE2_NO_UTF_CHECK, space.data, space.context);
    if (count == PCRE2_ERROR_NOMATCH) return false;
    if (count < 0) {
      throw TokenizerError(place + ": matching stopped in a text of " +
                           std::to_string(text.size()) + " bytes: " + error_text(count));
    }
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(space.data);
    begin = span[0];
    end = span[1];
    return true;
  }
};

Regex::Regex(std::string_view pattern, const std::string& place) {
  const std::string translated = to_pcre2_pattern(pattern, place);
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    throw TokenizerError(place + ": \"" + std::string(pattern) +
                         "\" is no regular expression: " + error_text(error));
  }
  // Where no JIT is to be had, the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  compiled_.reset(new Compiled{code, place});
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::split(std::string_view text, std::vector<TextPart>& parts) const {
  parts.clear();
  std::size_t covered = 0;  // the end of the last part
  bool matched = false;
  for (std::size_t from = 0; from <= text.size();) {
    std::size_t begin = 0, end = 0;
    if (!compiled_->find(text, from, begin, end)) break;
    if (begin == end && matched && end == covered) {
      if (from >= text.size()) break;
      from += decode_utf8(text, from).length;
      continue;
    }
    if (begin > covered) parts.push_back({covered, begin, false});
    parts.push_back({begin, end, true});
    covered = from = end;
    matched = true;
  }
  if (covered < text.size()) parts.push_back({covered, text.size(), false});
}

}  // namespace troupe::runtime
