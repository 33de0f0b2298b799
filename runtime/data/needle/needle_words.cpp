#include "runtime/data/needle/needle_words.h"

#include <numeric>
#include <string_view>
#include <utility>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

/// Syllables of a consonant and one of two vowels.
std::vector<std::string> syllables(std::string_view vowels) {
  std::vector<std::string> words;
  for (const char consonant : std::string_view("bdfghjklmnprstvwz")) {
    for (const char vowel : vowels) words.push_back({consonant, vowel});
  }
  return words;
}

}  // namespace

const std::vector<std::string>& needle_keys() {
  static const std::vector<std::string> words = syllables("ae");
  return words;
}

const std::vector<std::string>& needle_values() {
  static const std::vector<std::string> words = syllables("io");
  return words;
}

const std::vector<std::string>& hay_words() {
  static const std::vector<std::string> words = syllables("uy");
  return words;
}

void check_form(const NeedleForm& form) {
  const auto wants = [](const char* what, const std::string& text, std::string_view word) {
    if (text.find(word) != std::string::npos) return;
    throw DataError(std::string("the form of a ") + what + " is \"" + text + "\", wanted " +
                    std::string(word) + " in it");
  };
  wants("needle", form.needle, "{key}");
  wants("needle", form.needle, "{value}");
  wants("question", form.question, "{key}");
}

std::string fill_needle_form(std::string form, const std::string& key, const std::string& value) {
  const auto put = [&form](std::string_view name, const std::string& word) {
    for (std::size_t at = form.find(name); at != std::string::npos; at = form.find(name, at)) {
      form.replace(at, name.size(), word);
      at += word.size();
    }
  };
  put("{key}", key);
  put("{value}", value);
  return form;
}

kernels::RandomKey NeedleDraw::next() {
  return {.seed = seed_,
          .purpose = kernels::Purpose::needle,
          .stream = stream_,
          .position = position_++};
}

std::size_t NeedleDraw::below(std::size_t n) { return kernels::random_below(next(), n); }

double NeedleDraw::uniform() { return kernels::random_uniform(next()); }

std::vector<std::size_t> NeedleDraw::some_of(std::size_t n, std::size_t count) {
  std::vector<std::size_t> all(n);
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (std::size_t i = 0; i < count; ++i) std::swap(all[i], all[i + below(n - i)]);
  all.resize(count);
  return all;
}

std::vector<NeedlePair> draw_needle_pairs(NeedleDraw& draw, int count) {
  const auto n = static_cast<std::size_t>(count);
  const auto keys = draw.some_of(needle_keys().size(), n);
  const auto values = draw.some_of(needle_values().size(), n);
  std::vector<NeedlePair> pairs;
  for (std::size_t i = 0; i < n; ++i) {
    pairs.push_back({needle_keys()[keys[i]], needle_values()[values[i]]});
  }
  return pairs;
}

void check_needle_count(const char* what, int found, int least, std::size_t most) {
  if (found >= least && static_cast<std::size_t>(found) <= most) return;
  throw DataError(std::to_string(found) + " " + what + ", wanted " + std::to_string(least) +
                  " to " + std::to_string(most));
}

}  // namespace troupe::runtime
