#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/data/corpus.h"
#include "runtime/data/tokenizer/rewriter.h"

namespace troupe::runtime {

/// The training documents of one source as an endless stream of tokens.
///
/// The documents of a pass, shuffled by (seed, pass) and written anew (`Rewriter`), each with bos
/// before and eos behind it, follow one another without a mark between passes. Safe to use from
/// many threads.
class DocumentStream {
 public:
  struct Args {
    const Corpus& corpus;      ///< outlives the stream
    const Rewriter& rewriter;  ///< outlives the stream
    std::vector<std::uint32_t> documents;
    std::uint64_t seed;
  };
  /// Throws DataError if the stream would have no tokens, or documents could not be told apart.
  explicit DocumentStream(Args args);
  ~DocumentStream();

  /// Writes the tokens of the stream from `begin` on.
  void read(std::uint64_t begin, std::span<std::int32_t> tokens);

  /// Tokens of one pass, bos and eos included.
  std::uint64_t tokens_of_pass(std::uint64_t number);

 private:
  struct Pass;
  struct Place {
    std::uint64_t pass, offset;
  };
  struct Entry {
    std::uint32_t document;
    std::uint64_t pass, tokens;  // tokens with bos and eos
  };

  std::shared_ptr<const Pass> pass(std::uint64_t number);
  Place place_of(std::uint64_t position);
  void read_document(const Entry& entry, std::uint64_t first, std::span<std::int32_t> tokens) const;
  std::uint64_t stream_tokens(std::uint32_t document, std::uint64_t pass) const;

  Args args_;
  std::uint64_t bos_, eos_;           // 1 or 0 tokens
  std::uint64_t least_per_pass_ = 0;  // of a pass in which nothing is rewritten

  std::mutex begins_mutex_;
  std::vector<std::uint64_t> begins_{0};  // of the passes, as far as they were asked for
  std::mutex mutex_;
  std::shared_ptr<const Pass> passes_[2];  // the ones used last: sequences may lie across two
};

}  // namespace troupe::runtime
