#include "actors/inference/scorer.h"

#include <algorithm>
#include <deque>

namespace troupe::actors {
namespace {

/// Tokens [begin, end) of a document as inputs; targets from `first_target` on are scored.
struct Window {
  const runtime::HeldOutDocument* document;
  Score* score;  // of the document
  int64_t begin, end, first_target;
};

std::vector<Window> windows(const runtime::HeldOutDocument& document, Score& score,
                            int64_t context) {
  std::vector<Window> out;
  const int64_t inputs = static_cast<int64_t>(document.tokens.size()) - 1;
  int64_t scored = 1;  // the next target
  for (int64_t begin = 0; scored <= inputs; begin += context / 2) {
    const int64_t end = std::min(inputs, begin + context);
    out.push_back({&document, &score, begin, end, scored});
    scored = end + 1;
  }
  return out;
}

constexpr int64_t rows_per_call = 2048;

/// Adds the losses to their documents' scores, in row order, so that groups do not show in a sum.
void score_windows(const ScoreArgs& args, std::span<const Window> group) {
  std::deque<DecoderSequence> sequences;
  std::vector<Decoder::Part> parts;
  std::vector<int32_t> targets;
  for (const Window& w : group) {
    const auto n = static_cast<size_t>(w.end - w.begin);
    parts.push_back({&sequences.emplace_back(args.decoder.new_sequence()),
                     std::span(w.document->tokens).subspan(static_cast<size_t>(w.begin), n)});
    for (int64_t i = w.begin + 1; i <= w.end; ++i) {
      targets.push_back(i >= w.first_target ? w.document->tokens[static_cast<size_t>(i)] : -1);
    }
  }
  const std::vector<float> losses = args.decoder.losses(parts, targets);
  auto next = losses.begin();
  for (const Window& w : group) {
    for (int64_t i = w.begin; i < w.end; ++i) w.score->nats += double{*next++};
  }
}

}  // namespace

double Score::bits_per_byte() const {
  constexpr double ln2 = 0.69314718055994530942;
  return nats / ln2 / static_cast<double>(bytes > 0 ? bytes : 1);
}

Score& Score::operator+=(const Score& other) {
  nats += other.nats;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

std::vector<Score> score_documents(const ScoreArgs& args) {
  if (args.context < 2) {
    throw kernels::KernelError("a window of " + std::to_string(args.context) +
                               " positions, wanted 2 or more");
  }
  std::vector<Score> scores(args.documents.size());
  std::vector<Window> group;
  int64_t rows = 0;
  const auto flush = [&] {
    score_windows(args, group);
    group.clear();
    rows = 0;
  };
  for (size_t d = 0; d < args.documents.size(); ++d) {
    const runtime::HeldOutDocument& document = args.documents[d];
    scores[d].bytes = static_cast<int64_t>(document.text_bytes);
    scores[d].tokens = std::max<int64_t>(0, std::ssize(document.tokens) - 1);
    for (const Window& w : windows(document, scores[d], args.context)) {
      const int64_t n = w.end - w.begin;
      if (rows + n > rows_per_call) flush();
      group.push_back(w);
      rows += n;
    }
    if (args.progress) args.progress(static_cast<int64_t>(d) + 1, std::ssize(args.documents));
  }
  flush();
  return scores;
}

std::vector<SourceScore> scores_by_source(std::span<const runtime::HeldOutDocument> documents,
                                          std::span<const Score> scores) {
  std::vector<SourceScore> sums;
  for (size_t d = 0; d < documents.size(); ++d) {
    const auto is_same = [&](const SourceScore& s) { return s.source == documents[d].source; };
    auto sum = std::find_if(sums.begin(), sums.end(), is_same);
    if (sum == sums.end()) sum = sums.insert(sum, {documents[d].source, {}});
    sum->score += scores[d];
  }
  return sums;
}

Score sum_of(std::span<const Score> scores) {
  Score sum;
  for (const Score& score : scores) sum += score;
  return sum;
}

}  // namespace troupe::actors
