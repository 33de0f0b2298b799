#pragma once

#include <cstdint>

namespace troupe::runtime {

inline constexpr char token_file_magic[9] = "TROUPTOK";
inline constexpr std::uint32_t token_file_version = 2;

/// The first 64 bytes of a token file; see token_file.h.
struct TokenFileHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t token_bytes;
  std::uint64_t n_documents;
  std::uint64_t n_tokens;
  std::uint64_t tokenizer_fingerprint;
  std::uint32_t vocabulary_size;
  std::uint32_t zero;
  std::uint64_t content_hash;
  std::uint64_t header_hash;
};
static_assert(sizeof(TokenFileHeader) == 64);

inline constexpr std::uint64_t token_table_row_bytes = 16;

/// In the bytes of a document's text: the document is no running text.
inline constexpr std::uint64_t token_table_turns_bit = std::uint64_t{1} << 63;

/// Where the table of documents begins.
constexpr std::uint64_t token_table_offset(std::uint64_t n_tokens, std::uint64_t token_bytes) {
  return sizeof(TokenFileHeader) + (n_tokens * token_bytes + 7) / 8 * 8;
}

}  // namespace troupe::runtime
