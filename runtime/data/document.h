#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/data/tokenizer/tokenizer.h"

namespace troupe::runtime {

/// Who speaks a part of a document. `text`, `prompt` and `completion` are written as they stand,
/// the others behind their role's token.
enum class Role { text, prompt, completion, system, user, assistant };

struct Turn {
  Role role;
  std::string text;  ///< valid UTF-8
};

/// The unit that is shuffled, held out and scored.
struct Document {
  std::vector<Turn> turns;

  std::uint64_t text_bytes() const;  ///< UTF-8 bytes of all turns

  /// Neither messages nor a prompt with its completion.
  bool is_running_text() const { return turns.size() == 1 && turns[0].role == Role::text; }
};

/// The ids of a document, without bos before it and eos behind it. Special tokens written out in
/// its text are ordinary text. An assistant's turn that others follow ends in eos. A system turn
/// stands alone where the vocabulary has no token for that role, as in DeepSeek-V3's chat template;
/// a user's or an assistant's is then a DataError.
std::vector<std::int32_t> encode_document(const Tokenizer& tokenizer, const Document& document);

}  // namespace troupe::runtime
