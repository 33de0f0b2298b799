#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/data/tokenizer/added_tokens.h"
#include "runtime/data/tokenizer/bpe.h"
#include "runtime/data/tokenizer/pre_tokenizer.h"

namespace troupe::runtime {

/// What a tokenizer.json says, checked.
struct TokenizerFile {
  std::vector<std::string> tokens;  ///< by id, as the file writes them; empty: an unused id
  Bpe::Args bpe;
  PreTokenizer::Args pre_tokenizer;
  std::vector<AddedToken> added_tokens;  ///< contained in `tokens` too
};

/// Reads a tokenizer.json. Throws TokenizerError: `name`, the place in the JSON, what was found and
/// what is read.
TokenizerFile read_tokenizer_json(const std::string& json, const std::string& name);

/// A tokenizer as training makes it.
struct TrainedTokenizer {
  std::vector<std::string> special_tokens;                  ///< ids from 0
  std::vector<std::string> tokens;                          ///< ids behind them, as bytes
  std::vector<std::pair<std::string, std::string>> merges;  ///< as bytes
};

/// The text of its tokenizer.json, which the `tokenizers` library loads with equal results.
std::string write_tokenizer_json(const TrainedTokenizer& trained);

/// The text of a tokenizer_config.json beside it, with a chat template.
std::string write_tokenizer_config_json();

}  // namespace troupe::runtime
