#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/data/corpus.h"

namespace troupe::runtime {

/// Cuts the training documents into sequences.
///
/// The documents of a pass, shuffled by (seed, pass), each with bos before and eos behind it,
/// follow one another without a mark between passes: one endless stream. Sequence i is its tokens
/// [i S, i S + S], S + 1 of them, so that every token is a target once. For the main model tokens
/// [0, S) are inputs and [1, S] targets; an MTP layer of depth d predicts token t + 1 + d at
/// t < S - d.
///
/// A sequence is a function of (corpus, seed, S, i): how sequences are cut into micro-batches,
/// steps and workers shows in no token. The state of a run is how many sequences it has consumed,
/// and nothing else. Safe to use from many threads.
class BatchSampler {
 public:
  struct Args {
    const Corpus& corpus;  ///< outlives the sampler
    std::uint64_t seed;
    std::int32_t seq_len;  ///< S
  };
  /// Throws DataError if the stream would have no tokens, or documents could not be told apart.
  explicit BatchSampler(Args args);
  ~BatchSampler();

  std::int32_t seq_len() const { return static_cast<std::int32_t>(seq_len_); }

  /// Tokens of one pass over the training documents, bos and eos included.
  std::uint64_t tokens_per_pass() const { return tokens_per_pass_; }

  /// Writes sequences first .. first + count - 1 to `tokens`, [count, S + 1].
  void fill(std::uint64_t first, std::uint64_t count, std::span<std::int32_t> tokens);

 private:
  struct Pass;

  std::shared_ptr<const Pass> pass(std::uint64_t number);
  void read_stream(std::uint64_t begin, std::span<std::int32_t> tokens);
  void read_document(std::uint32_t document, std::uint64_t first,
                     std::span<std::int32_t> tokens) const;
  std::uint64_t stream_tokens(std::uint32_t document) const;

  const Corpus& corpus_;
  std::uint64_t seed_, seq_len_;
  std::uint64_t tokens_per_pass_ = 0;
  std::uint64_t bos_, eos_;  // 1 or 0 tokens

  std::mutex mutex_;
  std::shared_ptr<const Pass> passes_[2];  // the ones used last: sequences may lie across two
};

}  // namespace troupe::runtime
