#include "actors/model/scorer.h"

#include <algorithm>
#include <deque>

#include "kernels/logits.h"

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

double score_windows(const ScoreArgs& args, std::span<const Window> group) {
  std::deque<DecoderSequence> sequences;
  std::vector<Decoder::Part> parts;
  int64_t rows = 0;
  for (const Window& w : group) {
    const auto n = static_cast<size_t>(w.end - w.begin);
    parts.push_back({&sequences.emplace_back(args.decoder.new_sequence()),
                     std::span(w.document->tokens).subspan(static_cast<size_t>(w.begin), n)});
    rows += w.end - w.begin;
  }
  const kernels::Buffer logits = args.decoder.logits(parts);
  const kernels::Buffer targets = kernels::allocate(kernels::DType::i32, {rows});
  int64_t row = 0;
  for (const Window& w : group) {
    for (int64_t i = w.begin; i < w.end; ++i, ++row) {
      kernels::values<int32_t>(targets.view)[row] =
          i + 1 >= w.first_target ? w.document->tokens[static_cast<size_t>(i + 1)] : -1;
    }
  }
  const kernels::Buffer losses = kernels::allocate_f32({rows});
  const kernels::Buffer log_sums = kernels::allocate_f32({rows});
  kernels::cross_entropy(args.queue, {.logits = logits, .targets = targets, .losses = losses,
                                      .log_sums = log_sums});
  args.queue.wait();
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i) {
    sum += static_cast<double>(kernels::values<float>(losses.view)[i]);
  }
  return sum;
}

}  // namespace

double Score::bits_per_byte() const {
  constexpr double ln2 = 0.69314718055994530942;
  return nats / ln2 / static_cast<double>(bytes > 0 ? bytes : 1);
}

Score score(const ScoreArgs& args) {
  Score total;
  std::vector<Window> group;
  int64_t rows = 0;
  const auto flush = [&] {
    if (!group.empty()) total.nats += score_windows(args, group);
    group.clear();
    rows = 0;
  };
  const auto all = static_cast<int64_t>(args.documents.size());
  for (int64_t d = 0; d < all; ++d) {
    const runtime::HeldOutDocument& document = args.documents[static_cast<size_t>(d)];
    total.bytes += static_cast<int64_t>(document.text_bytes);
    total.tokens += std::max<int64_t>(0, static_cast<int64_t>(document.tokens.size()) - 1);
    for (const Window& w : windows(document, args.context)) {
      group.push_back(w);
      rows += w.end - w.begin;
      if (rows >= rows_per_call) flush();
    }
    if (args.progress) args.progress(d + 1, all);
  }
  flush();
  return total;
}

}  // namespace troupe::actors
