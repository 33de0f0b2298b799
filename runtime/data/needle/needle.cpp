#include "runtime/data/needle/needle.h"

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

/// All values that there are, in the order in which they become candidates: those of the hay first.
std::vector<std::string> draw_values(NeedleDraw& draw, std::span<const NeedlePair> pairs) {
  std::vector<std::string> values;
  for (const NeedlePair& pair : pairs) values.push_back(pair.value);
  for (const std::size_t i : draw.some_of(needle_values().size(), needle_values().size())) {
    const std::string& value = needle_values()[i];
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}

/// The value of needle `right`, then the first of the others.
std::vector<Tokens> candidates_of(const NeedlePromptArgs& args, std::vector<std::string> values,
                                  std::size_t right) {
  const auto begin = values.begin();
  std::rotate(begin, begin + static_cast<std::ptrdiff_t>(right),
              begin + static_cast<std::ptrdiff_t>(right) + 1);
  std::vector<Tokens> out;
  for (int i = 0; i < args.candidates; ++i) {
    out.push_back(args.tokenizer.encode(" " + values[static_cast<std::size_t>(i)], false));
  }
  return out;
}

void check(const NeedlePromptArgs& args) {
  check_form(args.form);
  check_needle_count("needles", args.needles, 1, needle_keys().size());
  check_needle_count("candidates", args.candidates, 2, needle_values().size());
  check_needle_count("questions", args.questions, 1, static_cast<std::size_t>(args.needles));
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

struct Question {
  Tokens tokens;
  std::vector<Tokens> candidates;

  std::int64_t length() const { return std::ssize(tokens) + std::ssize(candidates.front()); }
};

std::vector<Question> draw_questions(const NeedlePromptArgs& args, NeedleDraw& draw,
                                     std::span<const NeedlePair> pairs) {
  const std::vector<std::string> values = draw_values(draw, pairs);
  std::vector<Question> questions;
  for (std::size_t q = 0; q < static_cast<std::size_t>(args.questions); ++q) {
    questions.push_back(
        {args.tokenizer.encode(fill_needle_form(args.form.question, pairs[q].key, {}), false),
         candidates_of(args, values, q)});
  }
  return questions;
}

/// Tokens of hay and needles between bos and question.
std::int64_t room_of(const NeedlePromptArgs& args, std::span<const Tokens> needles,
                     std::span<const Question> questions) {
  std::int64_t longest = 0;
  for (const Question& question : questions) longest = std::max(longest, question.length());
  const std::int64_t around = (args.tokenizer.special().bos >= 0) + longest;
  if (args.length >= around + total(needles)) return args.length - around;
  throw DataError("length " + std::to_string(args.length) + ", wanted at least " +
                  std::to_string(around + total(needles)) + " for " +
                  std::to_string(args.needles) + " needles and a question");
}

/// bos, if there is one, and hay with needles; `first_at`: where the first needle begins in it.
Tokens stack(const NeedlePromptArgs& args, NeedleDraw& draw, const std::vector<Tokens>& needles,
             std::int64_t room, std::int64_t& first_at) {
  const std::int64_t places = room - std::ssize(needles[0]);
  const auto before = static_cast<std::int64_t>(
      std::llround(args.depth / 100 * static_cast<double>(places)));
  const Parts others =
      divide(draw, {needles.begin() + 1, needles.end()}, before, places - before);
  Tokens tokens;
  if (const std::int32_t bos = args.tokenizer.special().bos; bos >= 0) tokens.push_back(bos);
  Hay hay(args, draw);
  append_stretch(draw, hay, before, others.before, tokens);
  first_at = std::ssize(tokens);
  tokens.insert(tokens.end(), needles[0].begin(), needles[0].end());
  append_stretch(draw, hay, places - before, others.behind, tokens);
  return tokens;
}

}  // namespace

std::vector<NeedlePrompt> make_needle_prompts(const NeedlePromptArgs& args) {
  check(args);
  NeedleDraw draw(seed_of(args), args.trial);
  const auto pairs = draw_needle_pairs(draw, args.needles);
  std::vector<Question> questions = draw_questions(args, draw, pairs);
  const std::vector<Tokens> needles = encoded(args, pairs);
  std::int64_t first_at = 0;
  const Tokens hay = stack(args, draw, needles, room_of(args, needles, questions), first_at);

  std::vector<NeedlePrompt> prompts;
  for (Question& question : questions) {
    NeedlePrompt& prompt = prompts.emplace_back();
    prompt.tokens = hay;
    prompt.tokens.insert(prompt.tokens.end(), question.tokens.begin(), question.tokens.end());
    prompt.needle_at = first_at;
    prompt.candidates = std::move(question.candidates);
  }
  return prompts;
}

}  // namespace troupe::runtime
