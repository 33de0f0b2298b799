#include "runtime/data/document.h"

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

/// The token before a turn, or -1 if it has none.
std::int32_t role_token(const SpecialTokens& special, Role role) {
  const auto wanted = [](std::int32_t id, const char* name) {
    if (id < 0) throw DataError(std::string("messages need a tokenizer with the token ") + name);
    return id;
  };
  switch (role) {
    case Role::system:
      return special.system;
    case Role::user:
      return wanted(special.user, "<｜User｜>");
    case Role::assistant:
      return wanted(special.assistant, "<｜Assistant｜>");
    case Role::text:
    case Role::prompt:
    case Role::completion:
      return -1;
  }
  return -1;
}

}  // namespace

std::uint64_t Document::text_bytes() const {
  std::uint64_t bytes = 0;
  for (const Turn& turn : turns) bytes += turn.text.size();
  return bytes;
}

std::vector<std::int32_t> encode_document(const Tokenizer& tokenizer, const Document& document) {
  const SpecialTokens& special = tokenizer.special();
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < document.turns.size(); ++i) {
    const Turn& turn = document.turns[i];
    if (const std::int32_t role = role_token(special, turn.role); role >= 0) ids.push_back(role);
    const auto text = tokenizer.encode(turn.text, false);
    ids.insert(ids.end(), text.begin(), text.end());
    const bool is_last = i + 1 == document.turns.size();
    if (turn.role == Role::assistant && !is_last && special.eos >= 0) ids.push_back(special.eos);
  }
  return ids;
}

}  // namespace troupe::runtime
