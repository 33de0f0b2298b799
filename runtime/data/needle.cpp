#include "runtime/data/needle.h"

#include <algorithm>
#include <cmath>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

using Tokens = std::vector<std::int32_t>;

/// Hay that has not been used yet.
class Hay {
 public:
  Hay(const NeedlePromptArgs& args, NeedleDraw& draw) : args_(args), draw_(draw) {
    if (!args.text.empty()) next_ = draw.below(args.text.size());
  }

  void append(std::int64_t count, Tokens& out) {
    for (; count > 0; --count) out.push_back(token());
  }

 private:
  std::int32_t token() {
    if (!args_.text.empty()) return args_.text[next_++ % args_.text.size()];
    while (next_ == word_.size()) {
      word_ = args_.tokenizer.encode(" " + hay_words()[draw_.below(hay_words().size())], false);
      next_ = 0;
    }
    return word_[next_++];
  }

  const NeedlePromptArgs& args_;
  NeedleDraw& draw_;
  Tokens word_;
  std::size_t next_ = 0;  // of the text, or of the word
};

std::int64_t total(std::span<const Tokens> needles) {
  std::int64_t sum = 0;
  for (const Tokens& needle : needles) sum += std::ssize(needle);
  return sum;
}

/// `room` tokens of hay with all of `needles` somewhere in it.
void append_stretch(NeedleDraw& draw, Hay& hay, std::int64_t room,
                    std::span<const Tokens> needles, Tokens& out) {
  const std::int64_t straws = room - total(needles);
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    places.push_back(static_cast<std::int64_t>(draw.below(static_cast<std::size_t>(straws) + 1)));
  }
  std::sort(places.begin(), places.end());
  std::int64_t used = 0;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    hay.append(places[i] - used, out);
    used = places[i];
    out.insert(out.end(), needles[i].begin(), needles[i].end());
  }
  hay.append(straws - used, out);
}

/// The other needles in two parts: those that stand before the one that is asked for, in `before`
/// tokens, and those behind it, in `behind`.
struct Parts {
  std::vector<Tokens> before, behind;
};

Parts divide(NeedleDraw& draw, std::vector<Tokens> others, std::int64_t before,
             std::int64_t behind) {
  Parts parts;
  for (Tokens& needle : others) {
    const std::int64_t length = std::ssize(needle);
    const bool is_before = draw.uniform() * static_cast<double>(before + behind) <
                           static_cast<double>(before);
    const auto fits = [&](bool first) { return length <= (first ? before : behind); };
    if (!fits(true) && !fits(false)) {
      throw DataError("needles of " + std::to_string(length) + " tokens have no room left: " +
                      std::to_string(before) + " tokens before the one that is asked for, " +
                      std::to_string(behind) + " behind it");
    }
    const bool goes_before = fits(is_before) ? is_before : !is_before;
    (goes_before ? before : behind) -= length;
    (goes_before ? parts.before : parts.behind).push_back(std::move(needle));
  }
  return parts;
}

/// Of the pairs of the hay, then of values that no needle has.
std::vector<Tokens> draw_candidates(const NeedlePromptArgs& args, NeedleDraw& draw,
                                    std::span<const NeedlePair> pairs) {
  std::vector<std::string> values;
  for (const NeedlePair& pair : pairs) values.push_back(pair.value);
  for (const std::size_t i : draw.some_of(needle_values().size(), needle_values().size())) {
    const std::string& value = needle_values()[i];
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  values.resize(static_cast<std::size_t>(args.candidates));
  std::vector<Tokens> out;
  for (const std::string& value : values) out.push_back(args.tokenizer.encode(" " + value, false));
  return out;
}

void check(const NeedlePromptArgs& args) {
  check_form(args.form);
  check_needle_count("needles", args.needles, 1, needle_keys().size());
  check_needle_count("candidates", args.candidates, 2, needle_values().size());
  if (args.depth >= 0 && args.depth <= 100) return;
  throw DataError("depth " + std::to_string(args.depth) + ", wanted 0 to 100");
}

/// Prompts of one trial share nothing but the seed.
std::uint64_t seed_of(const NeedlePromptArgs& args) {
  return kernels::random_bits(
      {.seed = args.seed,
       .purpose = kernels::Purpose::needle,
       .stream = static_cast<std::uint32_t>(args.length),
       .position = static_cast<std::uint64_t>(std::llround(args.depth * 1e6))});
}

std::vector<Tokens> encoded(const NeedlePromptArgs& args, std::span<const NeedlePair> pairs) {
  std::vector<Tokens> needles;
  for (const NeedlePair& pair : pairs) {
    needles.push_back(
        args.tokenizer.encode(fill_needle_form(args.form.needle, pair.key, pair.value), false));
  }
  return needles;
}

/// Tokens of hay and needles between bos and question.
std::int64_t room_of(const NeedlePromptArgs& args, std::span<const Tokens> needles,
                     const Tokens& question, const Tokens& value) {
  const std::int64_t around =
      (args.tokenizer.special().bos >= 0) + std::ssize(question) + std::ssize(value);
  if (args.length >= around + total(needles)) return args.length - around;
  throw DataError("length " + std::to_string(args.length) + ", wanted at least " +
                  std::to_string(around + total(needles)) + " for " +
                  std::to_string(args.needles) + " needles and a question");
}

}  // namespace

NeedlePrompt make_needle_prompt(const NeedlePromptArgs& args) {
  check(args);
  NeedleDraw draw(seed_of(args), args.trial);
  const auto pairs = draw_needle_pairs(draw, args.needles);
  NeedlePrompt prompt{{}, 0, draw_candidates(args, draw, pairs)};
  const std::vector<Tokens> needles = encoded(args, pairs);
  const Tokens question =
      args.tokenizer.encode(fill_needle_form(args.form.question, pairs[0].key, {}), false);

  const std::int64_t places =
      room_of(args, needles, question, prompt.candidates[0]) - std::ssize(needles[0]);
  const auto before = static_cast<std::int64_t>(
      std::llround(args.depth / 100 * static_cast<double>(places)));
  const Parts others =
      divide(draw, {needles.begin() + 1, needles.end()}, before, places - before);

  Tokens& tokens = prompt.tokens;
  if (const std::int32_t bos = args.tokenizer.special().bos; bos >= 0) tokens.push_back(bos);
  Hay hay(args, draw);
  append_stretch(draw, hay, before, others.before, tokens);
  prompt.needle_at = std::ssize(tokens);
  tokens.insert(tokens.end(), needles[0].begin(), needles[0].end());
  append_stretch(draw, hay, places - before, others.behind, tokens);
  tokens.insert(tokens.end(), question.begin(), question.end());
  return prompt;
}

}  // namespace troupe::runtime
