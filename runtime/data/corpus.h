#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "runtime/data/document.h"
#include "runtime/data/token_file.h"
#include "runtime/data/tokenizer.h"
#include "runtime/data/tokenizer_json.h"

namespace troupe::runtime {

/// A document that is scored: its ids with bos before and eos behind, and the bytes of its text.
struct HeldOutDocument {
  std::vector<std::int32_t> tokens;
  std::uint64_t text_bytes;
};

/// The tokenized documents of a run, numbered in the order of the recipe's files. Whether one is
/// held out is drawn by (seed, number). Immutable; safe to use from many threads.
class Corpus {
 public:
  std::uint32_t n_documents() const { return static_cast<std::uint32_t>(places_.size()); }

  /// Numbers in ascending order; every document is in one of the two.
  const std::vector<std::uint32_t>& training() const { return training_; }
  const std::vector<std::uint32_t>& held_out() const { return held_out_; }

  /// Without bos and eos.
  std::uint64_t document_tokens(std::uint32_t document) const;
  void read(std::uint32_t document, std::uint64_t first, std::span<std::int32_t> tokens) const;

  HeldOutDocument held_out_document(std::size_t index) const;

  const SpecialTokens& special() const { return special_; }

 private:
  friend class SourceText;

  /// Where a document lies: in a token file, or in `ids_` from `begin` on (file -1).
  struct Place {
    std::int32_t file;
    std::uint64_t begin;  // in a token file: the document's number there
    std::uint64_t tokens, text_bytes;
  };

  std::vector<TokenFile> files_;
  std::vector<std::int32_t> ids_;
  std::vector<Place> places_;
  std::vector<std::uint32_t> training_, held_out_;
  SpecialTokens special_;
};

/// What a run's files hold before there is a tokenizer.
class SourceText {
 public:
  struct Args {
    std::vector<std::filesystem::path>
        text;  ///< see `split_documents`; parts that are no UTF-8 become U+FFFD
    std::vector<std::filesystem::path> jsonl;   ///< see `read_jsonl`
    std::vector<std::filesystem::path> tokens;  ///< see TokenFile
    std::uint64_t seed;
    double holdout;  ///< share of the documents that are held out, in [0, 1)
  };

  /// Reads text and JSONL files and opens token files. Throws DataError.
  explicit SourceText(Args args);

  /// Learns from the training documents of text and JSONL.
  TrainedTokenizer train_tokenizer(std::int32_t vocabulary_size) const;

  /// Tokenizes. Throws DataError if a token file was made with another tokenizer, or if nothing is
  /// left to train on.
  Corpus encode(const Tokenizer& tokenizer) &&;

 private:
  bool is_held_out(std::size_t document) const;
  void open_token_files(const Tokenizer& tokenizer, Corpus& corpus) const;

  Args args_;
  std::vector<Document> documents_;
};

}  // namespace troupe::runtime
