#include "actors/inference/scorer.h"

#include <algorithm>
#include <deque>

namespace troupe::actors {
namespace {

std::vector<ScoreWindow> windows(const runtime::HeldOutDocument& document, int64_t context) {
  std::vector<ScoreWindow> out;
  const int64_t inputs = static_cast<int64_t>(document.tokens.size()) - 1;
  int64_t scored = 1;  // the next target
  for (int64_t begin = 0; scored <= inputs; begin += context / 2) {
    const int64_t end = std::min(inputs, begin + context);
    out.push_back({&document, begin, end, scored});
    scored = end + 1;
  }
  return out;
}

constexpr int64_t rows_per_call = 2048;

/// Those of a decoder.
std::vector<float> losses_of(Decoder& decoder, std::span<const ScoreWindow> group) {
  std::deque<DecoderSequence> sequences;
  std::vector<Decoder::Part> parts;
  std::vector<int32_t> targets;
  for (const ScoreWindow& w : group) {
    const auto n = static_cast<size_t>(w.end - w.begin);
    parts.push_back({&sequences.emplace_back(decoder.new_sequence()),
                     std::span(w.document->tokens).subspan(static_cast<size_t>(w.begin), n)});
    for (int64_t i = w.begin + 1; i <= w.end; ++i) {
      targets.push_back(i >= w.first_target ? w.document->tokens[static_cast<size_t>(i)] : -1);
    }
  }
  return decoder.losses(parts, targets);
}

/// Windows that are computed together, and the rows that they take.
class Group {
 public:
  explicit Group(bool has_padding) : has_padding_(has_padding) {}
  int64_t rows_with(int64_t n) const {
    if (!has_padding_) return rows_ + n;
    return (std::ssize(windows_) + 1) * std::max(longest_, n);
  }
  void add(const ScoreWindow& window, Score& score) {
    const int64_t n = window.end - window.begin;
    rows_ += n;
    longest_ = std::max(longest_, n);
    windows_.push_back(window);
    scores_.push_back(&score);
  }
  /// Adds the losses to their documents' scores, in row order, so that groups do not show in a sum.
  void flush(const WindowArgs& args) {
    if (windows_.empty()) return;
    const std::vector<float> losses = args.losses_of(windows_);
    auto next = losses.begin();
    for (size_t i = 0; i < windows_.size(); ++i) {
      for (int64_t row = windows_[i].begin; row < windows_[i].end; ++row) scores_[i]->nats += double{*next++};
    }
    *this = Group(has_padding_);
  }

 private:
  bool has_padding_;
  std::vector<ScoreWindow> windows_;
  std::vector<Score*> scores_;  // of their documents
  int64_t rows_ = 0, longest_ = 0;
};

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
  return score_in_windows({.documents = args.documents, .context = args.context, .rows_at_once = rows_per_call,
                           .has_padding = false,
                           .losses_of = [&](auto windows) { return losses_of(args.decoder, windows); },
                           .progress = args.progress});
}

std::vector<Score> score_in_windows(const WindowArgs& args) {
  if (args.context < 2) {
    throw kernels::KernelError("a window of " + std::to_string(args.context) +
                               " positions, wanted 2 or more");
  }
  std::vector<Score> scores(args.documents.size());
  Group group(args.has_padding);
  for (size_t d = 0; d < args.documents.size(); ++d) {
    const runtime::HeldOutDocument& document = args.documents[d];
    scores[d].bytes = static_cast<int64_t>(document.text_bytes);
    scores[d].tokens = std::max<int64_t>(0, std::ssize(document.tokens) - 1);
    for (const ScoreWindow& w : windows(document, args.context)) {
      if (group.rows_with(w.end - w.begin) > args.rows_at_once) group.flush(args);
      group.add(w, scores[d]);
    }
    if (args.progress) args.progress(static_cast<int64_t>(d) + 1, std::ssize(args.documents));
  }
  group.flush(args);
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
