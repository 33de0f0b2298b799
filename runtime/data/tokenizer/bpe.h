#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/data/tokenizer/pair_table.h"

namespace troupe::runtime {

/// One merge of a byte-pair encoding: `left` and `right` side by side become `result`.
struct BpeMerge {
  std::int32_t left, right, result;
};

/// Byte-pair encoding of single words. Immutable; safe to use from many threads.
class Bpe {
 public:
  struct Args {
    std::unordered_map<std::string, std::int32_t> vocabulary;  ///< bytes of a token -> id
    std::vector<BpeMerge> merges;  ///< best first; of a repeated pair the last counts
    bool ignore_merges;            ///< a word that is a token is that token
  };
  /// Throws TokenizerError if a byte that occurs in UTF-8 has no token.
  explicit Bpe(Args args);
  ~Bpe();
  Bpe(Bpe&&) noexcept;
  Bpe& operator=(Bpe&&) noexcept;

  /// Appends the ids of `word`: the merge of lowest rank first, of equal ones the leftmost.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  struct Rule {
    std::int32_t rank, result;
  };
  struct Cache;

  std::int32_t byte_id(std::string_view word, std::size_t position) const;
  Rule rule(std::int32_t left, std::int32_t right) const;
  void merge_short_word(std::string_view word, std::vector<std::int32_t>& ids) const;
  void merge_long_word(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::unordered_map<std::string, std::int32_t> vocabulary_;
  PairTable pairs_;          // that have a rule
  std::vector<Rule> rules_;  // by the pair's number
  std::int32_t byte_ids_[256];
  bool ignore_merges_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace troupe::runtime
