#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/tokenizer/pre_tokenizer.h"

namespace troupe::runtime {

/// The names of the tokens that every tokenizer of Troupe's own reserves: bos, eos, pad, the three
/// of fill-in-the-middle, and the roles. Those that DeepSeek-V3 has are named as there.
const std::vector<std::string>& default_special_tokens();

/// The patterns by which a text is cut into words, one after the other: numbers of up to three
/// digits, runs of Chinese and Japanese, then words with the space before them, marks with the line
/// ends behind them, and white space. Source: DeepSeek-V3's tokenizer.json.
const std::vector<std::string>& default_split_patterns();

/// These patterns, isolated, then ByteLevel without its own.
PreTokenizer::Args default_pre_tokenizer();

/// A chat in these roles, as a Jinja template that ends every assistant's turn with eos.
std::string_view default_chat_template();

}  // namespace troupe::runtime
