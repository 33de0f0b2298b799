#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "runtime/data/error.h"
#include "runtime/data/token_file.h"
#include "runtime/data/token_file_header.h"

namespace troupe::runtime {

TokenFileWriter::TokenFileWriter(Args args)
    : args_(std::move(args)),
      partial_(args_.path.string() + ".partial"),
      file_(std::fopen(partial_.c_str(), "wb")),
      hash_(XXH3_createState(), [](XXH3_state_s* state) { XXH3_freeState(state); }),
      token_bytes_(args_.vocabulary_size <= 1 << 16 ? 2 : 4) {
  if (file_ == nullptr) {
    throw DataError(partial_.string() + ": cannot be written: " + std::strerror(errno));
  }
  XXH3_64bits_reset(hash_.get());
  const TokenFileHeader unfinished{};  // all zeros: no reader takes it for a token file
  if (std::fwrite(&unfinished, sizeof unfinished, 1, file_) != 1) fail("cannot be written");
}

TokenFileWriter::~TokenFileWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(partial_, ignored);
}

void TokenFileWriter::fail(const std::string& what) const {
  throw DataError(partial_.string() + ": " + what + ": " + std::strerror(errno));
}

void TokenFileWriter::write(const void* bytes, std::size_t size) {
  XXH3_64bits_update(hash_.get(), bytes, size);
  if (size > 0 && std::fwrite(bytes, size, 1, file_) != 1) fail("cannot be written");
}

void TokenFileWriter::add(std::span<const std::int32_t> tokens, std::uint64_t text_bytes,
                          bool is_running_text) {
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= args_.vocabulary_size) {
      throw DataError(args_.path.string() + ": document " + std::to_string(table_.size()) +
                      " holds the id " + std::to_string(token) + "; ids are below " +
                      std::to_string(args_.vocabulary_size));
    }
  }
  if (token_bytes_ == 2) {
    const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
    write(narrow.data(), narrow.size() * sizeof(std::uint16_t));
  } else {
    write(tokens.data(), tokens.size_bytes());
  }
  n_tokens_ += tokens.size();
  table_.push_back({n_tokens_, is_running_text ? text_bytes : text_bytes | token_table_turns_bit});
}

void TokenFileWriter::finish() {
  const std::uint64_t zeros = 0;
  const std::uint64_t end = sizeof(TokenFileHeader) + n_tokens_ * token_bytes_;
  write(&zeros, token_table_offset(n_tokens_, token_bytes_) - end);
  static_assert(sizeof(Row) == token_table_row_bytes);
  write(table_.data(), table_.size() * sizeof(Row));

  TokenFileHeader header{.magic = {},
                         .version = token_file_version,
                         .token_bytes = token_bytes_,
                         .n_documents = table_.size(),
                         .n_tokens = n_tokens_,
                         .tokenizer_fingerprint = args_.tokenizer_fingerprint,
                         .vocabulary_size = static_cast<std::uint32_t>(args_.vocabulary_size),
                         .zero = 0,
                         .content_hash = XXH3_64bits_digest(hash_.get()),
                         .header_hash = 0};
  std::memcpy(header.magic, token_file_magic, sizeof header.magic);
  header.header_hash = XXH3_64bits(&header, offsetof(TokenFileHeader, header_hash));
  if (std::fseek(file_, 0, SEEK_SET) != 0 || std::fwrite(&header, sizeof header, 1, file_) != 1 ||
      std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) {
    fail("cannot be written");
  }
  std::FILE* const written = std::exchange(file_, nullptr);
  if (std::fclose(written) != 0) fail("cannot be closed");
  std::filesystem::rename(partial_, args_.path);
}

}  // namespace troupe::runtime
