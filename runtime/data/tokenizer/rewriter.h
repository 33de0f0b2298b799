#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/data/corpus.h"

namespace troupe::runtime {

/// Writes the training documents anew in each pass.
///
/// First, each token that joins marks and a line break is taken apart with a probability
/// (`JoinedTokens`), drawn by (seed, document, pass, its place in the document). Then a share of
/// the documents is rearranged for fill-in-the-middle, drawn by (seed, document, pass): the
/// document is cut at two places between tokens, all pairs of places being equally likely, and
/// written as fim_begin, prefix, fim_hole, suffix, fim_end, middle, none of the three parts empty.
/// Cuts lie between tokens and not between characters, so that nothing is tokenized again: a
/// document keeps its tokens. Only running text is rearranged, and only from `least_fim_tokens`
/// tokens on.
///
/// A document's tokens are a function of (corpus, rates, seed, document, pass). Safe to use from
/// many threads.
/// Source: DeepSeek-V3 report, arXiv:2412.19437, section 4.1.
class Rewriter {
 public:
  static constexpr std::uint64_t least_fim_tokens = 16;

  struct Args {
    const Corpus& corpus;  ///< outlives the rewriter
    std::uint64_t seed;
    double fim_rate;           ///< share of the documents that are rearranged, in [0, 1]
    double split_joined_rate;  ///< share of the joined tokens that are taken apart, in [0, 1]
  };
  /// Throws DataError if a rate is out of range, or if the tokenizer lacks the tokens of
  /// fill-in-the-middle and they are needed.
  explicit Rewriter(Args args);

  /// Every pass has the same tokens of a document.
  bool is_constant() const { return args_.fim_rate == 0 && args_.split_joined_rate == 0; }

  /// Without bos and eos.
  std::uint64_t tokens(std::uint32_t document, std::uint64_t pass) const;
  void read(std::uint32_t document, std::uint64_t pass, std::uint64_t first,
            std::span<std::int32_t> tokens) const;

 private:
  /// A document as a pass writes it.
  struct Written {
    std::uint32_t document;
    std::uint64_t pass;
    std::vector<std::int32_t> tokens;
  };

  bool is_rearranged(std::uint32_t document, std::uint64_t pass) const;
  std::shared_ptr<const Written> written(std::uint32_t document, std::uint64_t pass) const;
  void rearrange(Written& written) const;

  /// Calls visit(id, parts) for each token of the corpus; `parts` is what to write instead, empty
  /// if the token stays.
  template <class Visit>
  void visit_tokens(std::uint32_t document, std::uint64_t pass, Visit visit) const;

  Args args_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Written> last_;  // the next sequence often goes on in it
};

}  // namespace troupe::runtime
