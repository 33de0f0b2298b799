#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/data/document.h"
#include "runtime/data/token_file.h"
#include "runtime/data/tokenizer/joined_tokens.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {

/// A document that is scored: its ids with bos before and eos behind, and the bytes of its text.
struct HeldOutDocument {
  std::vector<std::int32_t> tokens;
  std::uint64_t text_bytes;
  std::string source = {};  ///< its name; none if there is but one
};

/// The tokenized documents of a run, numbered in the order of the recipe's files: text and JSONL of
/// the first source, of the second and so on, then the token files likewise. Whether one is held
/// out is drawn by (seed, number). Immutable; safe to use from many threads.
class Corpus {
 public:
  /// A part of the mixture that a run trains on.
  struct Source {
    std::string name;
    double weight;                        ///< its share of the sequences is this by the sum of all
    std::vector<std::uint32_t> training;  ///< its documents that are not held out, ascending
  };

  std::uint32_t n_documents() const { return static_cast<std::uint32_t>(places_.size()); }

  /// Numbers in ascending order; every document is in one of the two.
  const std::vector<std::uint32_t>& training() const { return training_; }
  const std::vector<std::uint32_t>& held_out() const { return held_out_; }

  /// At least one.
  const std::vector<Source>& sources() const { return sources_; }

  /// Without bos and eos.
  std::uint64_t document_tokens(std::uint32_t document) const;
  void read(std::uint32_t document, std::uint64_t first, std::span<std::int32_t> tokens) const;

  /// Neither messages nor a prompt with its completion.
  bool is_running_text(std::uint32_t document) const { return places_[document].is_running_text; }

  HeldOutDocument held_out_document(std::size_t index) const;

  const SpecialTokens& special() const { return special_; }
  const JoinedTokens& joined() const { return joined_; }

 private:
  friend class SourceText;

  /// Where a document lies: in a token file, or in `ids_` from `begin` on (file -1).
  struct Place {
    std::int32_t file;
    std::uint64_t begin;  // in a token file: the document's number there
    std::uint64_t tokens, text_bytes;
    std::uint32_t source;
    bool is_running_text;
  };

  std::vector<TokenFile> files_;
  std::vector<std::int32_t> ids_;
  std::vector<Place> places_;
  std::vector<std::uint32_t> training_, held_out_;
  std::vector<Source> sources_;
  SpecialTokens special_;
  JoinedTokens joined_;
};

/// What a run's files hold before there is a tokenizer.
class SourceText {
 public:
  /// Files that are shuffled together.
  struct Source {
    std::string name;
    std::vector<std::filesystem::path>
        text;  ///< see `split_documents`; parts that are no UTF-8 become U+FFFD
    std::vector<std::filesystem::path> jsonl;   ///< see `read_jsonl`
    std::vector<std::filesystem::path> tokens;  ///< see TokenFile
    double holdout;  ///< share of the documents that are held out, in [0, 1)
    double weight;   ///< see Corpus::Source
  };
  struct Args {
    std::vector<Source> sources;
    std::uint64_t seed;
  };

  /// Reads text and JSONL files and opens token files. Throws DataError.
  explicit SourceText(Args args);

  /// Learns from the training documents of text and JSONL, whatever their sources weigh.
  TrainedTokenizer train_tokenizer(std::int32_t vocabulary_size) const;

  /// Tokenizes. Throws DataError if a token file was made with another tokenizer, or if nothing is
  /// left to train on in a source.
  Corpus encode(const Tokenizer& tokenizer) &&;

 private:
  void read(std::uint32_t source);
  bool is_held_out(std::size_t document, std::uint32_t source) const;
  void open_token_files(std::uint32_t source, const Tokenizer& tokenizer, Corpus& corpus) const;
  void divide(Corpus& corpus) const;

  Args args_;
  std::vector<Document> documents_;
  std::vector<std::uint32_t> sources_;  // of the documents
};

}  // namespace troupe::runtime
