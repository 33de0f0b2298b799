#include "runtime/data/needle/needle_document.h"

#include <algorithm>
#include <vector>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

std::int64_t words_in(const std::string& text) { return std::ranges::count(text, ' '); }

/// Something of a document and where it wants to stand, in [0, 1).
struct Item {
  double place;
  std::string text;
};

/// Needles with their questions, as many as fit into `room` words; takes them off it.
std::vector<Item> draw_items(const NeedleDocumentArgs& args, NeedleDraw& draw, std::int64_t& room) {
  const auto count = 1 + draw.below(static_cast<std::size_t>(args.needles));
  std::vector<Item> items;
  for (const NeedlePair& pair : draw_needle_pairs(draw, static_cast<int>(count))) {
    const std::string needle = fill_needle_form(args.form.needle, pair.key, pair.value);
    const std::string question =
        fill_needle_form(args.form.question, pair.key, {}) + " " + pair.value;
    if (words_in(needle) + words_in(question) > room) break;
    const double place = draw.uniform();
    items.push_back({place, needle});
    room -= words_in(needle);
    auto questions = 1 + draw.below(static_cast<std::size_t>(args.questions));
    for (; questions > 0 && words_in(question) <= room; --questions) {
      items.push_back({place + (1 - place) * draw.uniform(), question});
      room -= words_in(question);
    }
  }
  return items;
}

/// Of 4 words or more, so that the row comes at least twice where there is room for that.
std::string repeated_row(NeedleDraw& draw, std::int64_t length) {
  std::vector<std::string> words = needle_keys();
  for (const auto* more : {&needle_values(), &hay_words()}) {
    words.insert(words.end(), more->begin(), more->end());
  }
  const auto longest = std::clamp<std::int64_t>(length / 2, 4, std::ssize(words));
  const std::size_t count = 4 + draw.below(static_cast<std::size_t>(longest) - 3);
  const auto row = draw.some_of(words.size(), count);
  std::string text;
  for (std::size_t i = 0; i < static_cast<std::size_t>(length); ++i) {
    text += " " + words[row[i % row.size()]];
  }
  return text;
}

void check(const NeedleDocumentArgs& args) {
  check_form(args.form);
  check_needle_count("needles", args.needles, 1, needle_keys().size());
  check_needle_count("questions", args.questions, 1, 1000);
  if (args.repeats >= 0 && args.repeats <= 1) return;
  throw DataError("a share of " + std::to_string(args.repeats) + " repeats, wanted 0 to 1");
}

}  // namespace

std::string make_needle_document(const NeedleDocumentArgs& args) {
  check(args);
  NeedleDraw draw(args.seed, args.number);
  if (draw.uniform() < args.repeats) return repeated_row(draw, args.length);
  std::int64_t room = args.length;
  std::vector<Item> items = draw_items(args, draw, room);
  if (items.empty()) {
    throw DataError("a document of " + std::to_string(args.length) +
                    " words, wanted room for a needle and its question");
  }
  for (; room > 0; --room) {
    items.push_back({draw.uniform(), " " + hay_words()[draw.below(hay_words().size())]});
  }
  // Equal places keep their order: a needle comes before its questions.
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& a, const Item& b) { return a.place < b.place; });
  std::string text;
  for (const Item& item : items) text += item.text;
  return text;
}

}  // namespace troupe::runtime
