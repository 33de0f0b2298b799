#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/data/mapped_file.h"

struct XXH3_state_s;

namespace troupe::runtime {

/// A file of tokenized documents that is read where it lies (mapped into memory).
///
/// All numbers are little-endian:
///    0  "TROUPTOK"
///    8  u32 version, 2
///   12  u32 bytes a token, 2 or 4
///   16  u64 documents
///   24  u64 tokens
///   32  u64 fingerprint of the tokenizer
///   40  u32 vocabulary size: ids are below it
///   44  u32 0
///   48  u64 xxh3 of all bytes behind the header
///   56  u64 xxh3 of the 56 bytes before
///   64  the tokens; zeros up to a multiple of 8 bytes; for each document u64 end (the number of
///       tokens up to and with it) and u64 bytes of its text, with the highest bit set if the
///       document is made of turns (messages, or a prompt and its completion)
/// Version 1 did not know of turns: its documents count as running text.
/// Documents hold neither bos before them nor eos behind them.
class TokenFile {
 public:
  /// Checks header, size and the table of documents, but not the tokens. Throws DataError.
  explicit TokenFile(const std::filesystem::path& path);

  /// Reads the whole file and compares its hash. Throws DataError.
  void verify() const;

  std::uint64_t n_documents() const { return n_documents_; }
  std::uint64_t n_tokens() const { return n_tokens_; }
  std::uint64_t file_bytes() const { return file_.bytes().size(); }
  std::uint64_t tokenizer_fingerprint() const { return fingerprint_; }
  std::int32_t vocabulary_size() const { return vocabulary_size_; }

  std::uint64_t document_tokens(std::uint64_t document) const;
  std::uint64_t document_text_bytes(std::uint64_t document) const;
  bool is_running_text(std::uint64_t document) const;

  /// Copies tokens from `first` of the document on. Throws DataError if there are fewer, or if an
  /// id is not below the vocabulary size.
  void read(std::uint64_t document, std::uint64_t first, std::span<std::int32_t> tokens) const;

 private:
  const std::uint8_t* bytes() const { return file_.bytes().data(); }
  std::uint64_t document_begin(std::uint64_t document) const;
  std::uint64_t text_field(std::uint64_t document) const;
  void read_header();
  void check_table() const;

  std::string name_;
  MappedFile file_;
  std::uint64_t n_documents_ = 0, n_tokens_ = 0, fingerprint_ = 0, table_ = 0, hash_ = 0;
  std::int32_t vocabulary_size_ = 0;
  std::uint32_t token_bytes_ = 0;
};

/// Writes a token file, document by document. It appears under its name when `finish` has made it
/// durable; without that nothing is left behind.
class TokenFileWriter {
 public:
  struct Args {
    std::filesystem::path path;
    std::int32_t vocabulary_size;
    std::uint64_t tokenizer_fingerprint;
  };
  explicit TokenFileWriter(Args args);
  ~TokenFileWriter();
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  void add(std::span<const std::int32_t> tokens, std::uint64_t text_bytes, bool is_running_text);
  void finish();

 private:
  struct Row {
    std::uint64_t end, text_bytes;
  };

  void write(const void* bytes, std::size_t size);
  [[noreturn]] void fail(const std::string& what) const;

  Args args_;
  std::filesystem::path partial_;
  std::FILE* file_;
  std::unique_ptr<XXH3_state_s, void (*)(XXH3_state_s*)> hash_;
  std::vector<Row> table_;
  std::uint64_t n_tokens_ = 0;
  std::uint32_t token_bytes_;
};

}  // namespace troupe::runtime
