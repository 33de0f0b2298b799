#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/data/corpus.h"
#include "runtime/data/document_stream.h"
#include "runtime/data/mixture.h"
#include "runtime/data/tokenizer/rewriter.h"

namespace troupe::runtime {

/// Cuts the training documents into sequences.
///
/// Each source is an endless stream of tokens (`DocumentStream`), cut into sequences of its own:
/// number j is the tokens [j S, j S + S], S + 1 of them, so that every token is a target once. The
/// mixture says from which source sequence i of the run is, and how many of that source came before
/// it. For the main model tokens [0, S) are inputs and [1, S] targets; an MTP layer of depth d
/// predicts token t + 1 + d at t < S - d.
///
/// A sequence is a function of (corpus, rates, seed, S, i): how sequences are cut into
/// micro-batches, steps and workers shows in no token. The state of a run is how many sequences it
/// has consumed, and nothing else. Safe to use from many threads.
class BatchSampler {
 public:
  struct Args {
    const Corpus& corpus;  ///< outlives the sampler
    std::uint64_t seed;
    std::int32_t seq_len;                        ///< S
    double fim_rate = 0, split_joined_rate = 0;  ///< see Rewriter
  };
  /// Throws DataError if a stream would have no tokens, documents could not be told apart, or a
  /// rate or a weight is out of range.
  explicit BatchSampler(Args args);

  std::int32_t seq_len() const { return static_cast<std::int32_t>(seq_len_); }

  /// Tokens of one pass over the training documents of a source, bos and eos included.
  std::uint64_t tokens_of_pass(std::uint32_t source, std::uint64_t pass);

  /// How many of sequences first .. first + count - 1 are from each source.
  std::vector<std::uint64_t> counts(std::uint64_t first, std::uint64_t count);

  /// Writes sequences first .. first + count - 1 to `tokens`, [count, S + 1].
  void fill(std::uint64_t first, std::uint64_t count, std::span<std::int32_t> tokens);

 private:
  std::uint64_t seq_len_;
  Rewriter rewriter_;
  Mixture mixture_;
  std::vector<std::unique_ptr<DocumentStream>> streams_;  // by source
};

}  // namespace troupe::runtime
