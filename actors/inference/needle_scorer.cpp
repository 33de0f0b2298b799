#include "actors/inference/needle_scorer.h"

#include <algorithm>
#include <deque>

#include "kernels/math/scalar_math.h"

namespace troupe::actors {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int64_t rows_per_call = 2048;

/// The logits that one token is drawn from.
class Logits {
 public:
  explicit Logits(std::span<const float> values) : values_(values) {
    greatest_ = *std::max_element(values.begin(), values.end());
    double sum = 0;
    for (const float x : values) sum += kernels::exp_exact(double{x} - double{greatest_});
    log_sum_ = kernels::log_exact(sum);
  }
  double log_prob(int32_t token) const {
    return double{values_[static_cast<size_t>(token)]} - double{greatest_} - log_sum_;
  }
  /// The lower id wins a tie, as in greedy sampling.
  bool is_greedy(int32_t token) const {
    return std::max_element(values_.begin(), values_.end()) - values_.begin() == token;
  }

 private:
  std::span<const float> values_;
  float greatest_;
  double log_sum_;
};

Logits row_of(const kernels::Buffer& logits, int64_t row) {
  const auto width = static_cast<size_t>(logits.view.cols());
  return Logits({kernels::values<float>(logits.view) + static_cast<size_t>(row) * width, width});
}

struct Continuation {
  double log_prob;
  bool is_greedy;
};

/// What a model makes of `value` behind a sequence whose next token has logits `first`.
Continuation continuation(Decoder& decoder, const DecoderSequence& sequence, const Logits& first,
                          const Tokens& value) {
  Continuation out{first.log_prob(value.front()), first.is_greedy(value.front())};
  if (value.size() == 1) return out;
  // Shares its pages with `sequence`, whose last may have room: every continuation writes the rows
  // behind it before it reads them.
  DecoderSequence longer = sequence;
  const Decoder::Part part{&longer, std::span(value).first(value.size() - 1)};
  const kernels::Buffer logits = decoder.logits({&part, 1});
  for (size_t i = 1; i < value.size(); ++i) {
    const Logits next = row_of(logits, static_cast<int64_t>(i) - 1);
    out.log_prob += next.log_prob(value[i]);
    out.is_greedy = out.is_greedy && next.is_greedy(value[i]);
  }
  return out;
}

NeedleScore score_of(Decoder& decoder, const DecoderSequence& sequence, const Logits& first,
                     std::span<const Tokens> candidates) {
  const Continuation right = continuation(decoder, sequence, first, candidates.front());
  NeedleScore score{right.is_greedy, true, right.log_prob};
  for (const Tokens& other : candidates.subspan(1)) {
    const Continuation wrong = continuation(decoder, sequence, first, other);
    score.is_chosen = score.is_chosen && right.log_prob > wrong.log_prob;
  }
  return score;
}

void check(const Decoder& decoder, const runtime::NeedlePrompt& prompt) {
  for (const Tokens& value : prompt.candidates) {
    const auto length = static_cast<int64_t>(prompt.tokens.size() + value.size());
    if (length <= decoder.max_positions()) continue;
    throw kernels::KernelError("a haystack of " + std::to_string(length) +
                               " tokens, the model has " +
                               std::to_string(decoder.max_positions()) + " positions");
  }
}

void score_group(Decoder& decoder, std::span<const runtime::NeedlePrompt> group,
                 std::vector<NeedleScore>& scores) {
  std::deque<DecoderSequence> sequences;
  std::vector<Decoder::Part> parts;
  for (const runtime::NeedlePrompt& prompt : group) {
    parts.push_back({&sequences.emplace_back(decoder.new_sequence()), prompt.tokens});
  }
  const kernels::Buffer logits = decoder.last_logits(parts);
  for (size_t i = 0; i < group.size(); ++i) {
    scores.push_back(score_of(decoder, sequences[i], row_of(logits, static_cast<int64_t>(i)),
                              group[i].candidates));
  }
}

}  // namespace

std::vector<NeedleScore> score_needles(const ScoreNeedlesArgs& args) {
  for (const runtime::NeedlePrompt& prompt : args.prompts) check(args.decoder, prompt);
  std::vector<NeedleScore> scores;
  auto left = args.prompts;
  while (!left.empty()) {
    size_t count = 0;
    int64_t rows = 0;
    while (count < left.size()) {
      rows += std::ssize(left[count].tokens);
      if (count > 0 && rows > rows_per_call) break;
      ++count;
    }
    score_group(args.decoder, left.first(count), scores);
    left = left.subspan(count);
    if (args.progress) args.progress(static_cast<int64_t>(scores.size()));
  }
  return scores;
}

}  // namespace troupe::actors
