#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/data/tokenizer/pre_tokenizer.h"
#include "runtime/data/tokenizer/tokenizer_json.h"
#include "runtime/data/tokenizer/word_table.h"

namespace troupe::runtime {

/// Learns a byte-level BPE from text.
///
/// A function of the counted words alone: the order of the texts does not matter. Ids: the special
/// tokens, the 256 bytes in the order of their symbols, then one token a merge. Each merge joins
/// the pair that occurs most often; of equally frequent pairs the one with the lower left id, then
/// the lower right id.
class BpeTrainer {
 public:
  BpeTrainer();

  /// Counts the words of `text`, which is valid UTF-8 (TokenizerError otherwise). Special tokens
  /// written out in it are ordinary text.
  void add(std::string_view text);

  /// Learns merges until there are `vocabulary_size` tokens, or no two tokens stand side by side in
  /// any word. Throws TokenizerError if not even the special tokens and the bytes fit.
  TrainedTokenizer train(std::int32_t vocabulary_size) const;

 private:
  PreTokenizer pre_tokenizer_;
  WordTable words_;
  std::vector<std::uint64_t> counts_;  // by the word's number
};

}  // namespace troupe::runtime
