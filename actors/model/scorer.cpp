#include "actors/model/scorer.h"

#include <algorithm>
#include <deque>

namespace troupe::actors {
namespace {

/// Tokens [begin, end) of a document as inputs; targets from `first_target` on are scored.
struct Window {
  const runtime::HeldOutDocument* document;
  int64_t begin, end, first_target;
};

std::vector<Window> windows(const runtime::HeldOutDocument& document, int64_t context) {
  std::vector<Window> out;
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

/// Adds the losses in row order, so that groups do not show in the sum.
void score_windows(const ScoreArgs& args, std::span<const Window> group, double& nats) {
  std::deque<DecoderSequence> sequences;
  std::vector<Decoder::Part> parts;
  for (const Window& w : group) {
    const auto n = static_cast<size_t>(w.end - w.begin);
    parts.push_back({&sequences.emplace_back(args.decoder.new_sequence()),
                     std::span(w.document->tokens).subspan(static_cast<size_t>(w.begin), n)});
  }
  std::vector<int32_t> targets;
  for (const Window& w : group) {
    for (int64_t i = w.begin + 1; i <= w.end; ++i) {
      targets.push_back(i >= w.first_target ? w.document->tokens[static_cast<size_t>(i)] : -1);
    }
  }
  for (const float loss : args.decoder.losses(parts, targets)) nats += static_cast<double>(loss);
}

}  // namespace

double Score::bits_per_byte() const {
  constexpr double ln2 = 0.69314718055994530942;
  return nats / ln2 / static_cast<double>(bytes > 0 ? bytes : 1);
}

Score score(const ScoreArgs& args) {
  if (args.context < 2) {
    throw kernels::KernelError("a window of " + std::to_string(args.context) +
                               " positions, wanted 2 or more");
  }
  Score total;
  std::vector<Window> group;
  int64_t rows = 0;
  const auto flush = [&] {
    score_windows(args, group, total.nats);
    group.clear();
    rows = 0;
  };
  const auto all = static_cast<int64_t>(args.documents.size());
  for (int64_t d = 0; d < all; ++d) {
    const runtime::HeldOutDocument& document = args.documents[static_cast<size_t>(d)];
    total.bytes += static_cast<int64_t>(document.text_bytes);
    total.tokens += std::max<int64_t>(0, static_cast<int64_t>(document.tokens.size()) - 1);
    for (const Window& w : windows(document, args.context)) {
      const int64_t n = w.end - w.begin;
      if (rows + n > rows_per_call) flush();
      group.push_back(w);
      rows += n;
    }
    if (args.progress) args.progress(d + 1, all);
  }
  flush();
  return total;
}

}  // namespace troupe::actors
