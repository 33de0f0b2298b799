// The loss of a model on documents.
#pragma once

#include <functional>
#include <span>

#include "actors/model/decoder.h"
#include "runtime/data/corpus.h"

namespace troupe::actors {

struct Score {
  double nats = 0;     ///< sum of -ln p over the scored tokens
  int64_t tokens = 0;  ///< scored
  int64_t bytes = 0;   ///< of the documents' text

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

/// Every token behind a document's first is scored once. Documents longer than `context` go in
/// windows that advance by half of it, so that a token sees at least half a window before it,
/// except in the first.
Score score(const ScoreArgs& args);

}  // namespace troupe::actors
