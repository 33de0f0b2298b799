#include "runtime/data/token_file.h"

#include <xxhash.h>

#include <bit>
#include <cstddef>
#include <cstring>

#include "runtime/data/error.h"
#include "runtime/data/token_file_header.h"

namespace troupe::runtime {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

template <class T>
T load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path) : name_(path.string()), file_(path) {
  read_header();
  check_table();
}

void TokenFile::read_header() {
  const std::uint64_t size = file_bytes();
  const auto fail = [&](const std::string& what) { throw DataError(name_ + ": " + what); };
  if (size < sizeof(TokenFileHeader)) {
    fail("not a token file: it has " + std::to_string(size) + " bytes, " +
         std::to_string(sizeof(TokenFileHeader)) + " or more are wanted");
  }
  const auto header = load<TokenFileHeader>(bytes());
  if (std::memcmp(header.magic, token_file_magic, sizeof header.magic) != 0) {
    fail("not a token file: it does not begin with TROUPTOK");
  }
  if (header.version < 1 || header.version > token_file_version) {
    fail("token file of version " + std::to_string(header.version) + "; 1 and 2 are read");
  }
  if (XXH3_64bits(bytes(), offsetof(TokenFileHeader, header_hash)) != header.header_hash) {
    fail("the header is damaged");
  }
  if ((header.token_bytes != 2 && header.token_bytes != 4) || header.vocabulary_size > 1u << 30) {
    fail("the header is wrong: " + std::to_string(header.token_bytes) + " bytes a token, " +
         std::to_string(header.vocabulary_size) + " ids");
  }
  const std::uint64_t room = size - sizeof header;
  if (header.n_tokens > room || header.n_documents > room) fail("the file is cut off");
  const std::uint64_t table = token_table_offset(header.n_tokens, header.token_bytes);
  if (table + header.n_documents * token_table_row_bytes != size) {
    fail("the file has " + std::to_string(size) + " bytes; " +
         std::to_string(table + header.n_documents * token_table_row_bytes) + " are wanted");
  }
  n_documents_ = header.n_documents;
  n_tokens_ = header.n_tokens;
  fingerprint_ = header.tokenizer_fingerprint;
  vocabulary_size_ = static_cast<std::int32_t>(header.vocabulary_size);
  token_bytes_ = header.token_bytes;
  table_ = table;
  hash_ = header.content_hash;
}

void TokenFile::check_table() const {
  std::uint64_t previous = 0;
  for (std::uint64_t i = 0; i < n_documents_; ++i) {
    const std::uint64_t end = document_begin(i + 1);
    if (end < previous || end > n_tokens_) {
      throw DataError(name_ + ": document " + std::to_string(i) + " ends at token " +
                      std::to_string(end) + " of " + std::to_string(n_tokens_));
    }
    previous = end;
  }
  if (previous != n_tokens_) {
    throw DataError(name_ + ": the documents have " + std::to_string(previous) +
                    " tokens, the file " + std::to_string(n_tokens_));
  }
}

void TokenFile::verify() const {
  const std::uint64_t found =
      XXH3_64bits(bytes() + sizeof(TokenFileHeader), file_bytes() - sizeof(TokenFileHeader));
  if (found != hash_)
    throw DataError(name_ + ": the content is damaged: its hash is not the header's");
}

std::uint64_t TokenFile::document_begin(std::uint64_t document) const {
  if (document == 0) return 0;
  return load<std::uint64_t>(bytes() + table_ + (document - 1) * token_table_row_bytes);
}

std::uint64_t TokenFile::document_tokens(std::uint64_t document) const {
  return document_begin(document + 1) - document_begin(document);
}

std::uint64_t TokenFile::text_field(std::uint64_t document) const {
  return load<std::uint64_t>(bytes() + table_ + document * token_table_row_bytes + 8);
}

std::uint64_t TokenFile::document_text_bytes(std::uint64_t document) const {
  return text_field(document) & ~token_table_turns_bit;
}

bool TokenFile::is_running_text(std::uint64_t document) const {
  return (text_field(document) & token_table_turns_bit) == 0;
}

void TokenFile::read(std::uint64_t document, std::uint64_t first,
                     std::span<std::int32_t> tokens) const {
  const std::uint64_t available = document < n_documents_ ? document_tokens(document) : 0;
  if (first > available || tokens.size() > available - first) {
    throw DataError(name_ + ": document " + std::to_string(document) + " has " +
                    std::to_string(available) + " tokens; wanted " + std::to_string(tokens.size()) +
                    " from " + std::to_string(first));
  }
  const std::uint8_t* at =
      bytes() + sizeof(TokenFileHeader) + (document_begin(document) + first) * token_bytes_;
  for (std::int32_t& token : tokens) {
    const std::uint32_t id = token_bytes_ == 2 ? load<std::uint16_t>(at) : load<std::uint32_t>(at);
    if (id >= static_cast<std::uint32_t>(vocabulary_size_)) {
      throw DataError(name_ + ": document " + std::to_string(document) + " holds the id " +
                      std::to_string(id) + "; ids are below " + std::to_string(vocabulary_size_));
    }
    token = static_cast<std::int32_t>(id);
    at += token_bytes_;
  }
}

}  // namespace troupe::runtime
