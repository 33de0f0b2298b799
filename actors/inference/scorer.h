// The loss of a model on documents.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "actors/inference/decoder.h"
#include "runtime/data/corpus.h"

namespace troupe::actors {

struct Score {
  double nats = 0;     ///< sum of -ln p over the scored tokens
  int64_t tokens = 0;  ///< scored
  int64_t bytes = 0;   ///< of the documents' text

  Score& operator+=(const Score& other);
  double loss() const { return nats / static_cast<double>(tokens > 0 ? tokens : 1); }
  double bits_per_byte() const;
};

struct ScoreArgs {
  Decoder& decoder;
  kernels::Queue& queue;  ///< the decoder's
  std::span<const runtime::HeldOutDocument> documents;
  int64_t context;        ///< positions of a window, at least 2
  std::function<void(int64_t done, int64_t all)> progress;  ///< documents; may be empty
};

/// Tokens [begin, end) of a document as inputs; of their targets, one behind each, those from `first_target` on are
/// scored.
struct ScoreWindow {
  const runtime::HeldOutDocument* document;
  int64_t begin, end, first_target;
};

struct WindowArgs {
  std::span<const runtime::HeldOutDocument> documents;
  int64_t context;       ///< as of ScoreArgs
  int64_t rows_at_once;  ///< of the windows of one call
  bool has_padding;      ///< each of them counts as much as the longest
  /// -ln p of every target of the windows, one behind the other; 0 where it is not scored.
  std::function<std::vector<float>(std::span<const ScoreWindow> windows)> losses_of;
  std::function<void(int64_t done, int64_t all)> progress;  ///< documents; may be empty
};

/// As score_documents, whoever computes the losses.
std::vector<Score> score_in_windows(const WindowArgs& args);

/// Of each document. Every token behind its first is scored once. Documents longer than `context`
/// go in windows that advance by half of it, so that a token sees at least half a window before it,
/// except in the first. Many windows are computed at once, which shows in no bit (law 1). Throws
/// KernelError if the context is shorter than 2.
std::vector<Score> score_documents(const ScoreArgs& args);

/// The documents of one source together.
struct SourceScore {
  std::string source;
  Score score;
};

/// Sums of `scores`, one of each of `documents`, by source: in the order in which the sources come
/// first. A source is its documents' sum in their order, whatever stands between them.
std::vector<SourceScore> scores_by_source(std::span<const runtime::HeldOutDocument> documents,
                                          std::span<const Score> scores);

/// Of all documents.
Score sum_of(std::span<const Score> scores);

}  // namespace troupe::actors
