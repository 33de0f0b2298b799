#include "runtime/data/corpus.h"

#include <utility>

#include "kernels/random.h"
#include "runtime/data/error.h"
#include "runtime/data/jsonl.h"
#include "runtime/data/text_documents.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/bpe_trainer.h"

namespace troupe::runtime {
namespace {

/// Larger token files are trusted to have the content their header names; reading them whole would
/// take longer than starting a run should.
constexpr std::uint64_t most_bytes_verified = std::uint64_t{1} << 30;

}  // namespace

std::uint64_t Corpus::document_tokens(std::uint32_t document) const {
  return places_.at(document).tokens;
}

void Corpus::read(std::uint32_t document, std::uint64_t first,
                  std::span<std::int32_t> tokens) const {
  const Place& place = places_.at(document);
  if (place.file >= 0) {
    files_[place.file].read(place.begin, first, tokens);
    return;
  }
  if (first > place.tokens || tokens.size() > place.tokens - first) {
    throw DataError("document " + std::to_string(document) + " has " +
                    std::to_string(place.tokens) + " tokens; wanted " +
                    std::to_string(tokens.size()) + " from " + std::to_string(first));
  }
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(place.begin + first);
  std::copy(begin, begin + static_cast<std::ptrdiff_t>(tokens.size()), tokens.begin());
}

HeldOutDocument Corpus::held_out_document(std::size_t index) const {
  const std::uint32_t document = held_out_.at(index);
  const Place& place = places_[document];
  const std::size_t bos = special_.bos >= 0, eos = special_.eos >= 0;
  HeldOutDocument result{std::vector<std::int32_t>(bos + place.tokens + eos), place.text_bytes,
                         sources_[place.source].name};
  if (bos) result.tokens.front() = special_.bos;
  if (eos) result.tokens.back() = special_.eos;
  read(document, 0, std::span(result.tokens).subspan(bos, place.tokens));
  return result;
}

SourceText::SourceText(Args args) : args_(std::move(args)) {
  if (args_.sources.empty()) throw DataError("no source of data; one or more are wanted");
  for (std::uint32_t i = 0; i < args_.sources.size(); ++i) read(i);
}

void SourceText::read(std::uint32_t source) {
  const Source& from = args_.sources[source];
  if (!(from.holdout >= 0 && from.holdout < 1)) {
    throw DataError("holdout is " + std::to_string(from.holdout) + "; [0, 1) is wanted");
  }
  const auto append = [&](std::vector<Document> documents) {
    documents_.insert(documents_.end(), std::make_move_iterator(documents.begin()),
                      std::make_move_iterator(documents.end()));
  };
  for (const auto& path : from.text) append(read_text_documents(path));
  for (const auto& path : from.jsonl) append(read_jsonl(read_text_file(path), path.string()));
  sources_.resize(documents_.size(), source);
}

bool SourceText::is_held_out(std::size_t document, std::uint32_t source) const {
  const kernels::RandomKey key{.seed = args_.seed,
                               .purpose = kernels::Purpose::holdout,
                               .stream = static_cast<std::uint32_t>(document),
                               .position = 0};
  return kernels::random_uniform(key) < args_.sources[source].holdout;
}

TrainedTokenizer SourceText::train_tokenizer(std::int32_t vocabulary_size) const {
  BpeTrainer trainer;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    if (is_held_out(i, sources_[i])) continue;
    for (const Turn& turn : documents_[i].turns) trainer.add(turn.text);
  }
  return trainer.train(vocabulary_size);
}

void SourceText::open_token_files(std::uint32_t source, const Tokenizer& tokenizer,
                                  Corpus& corpus) const {
  for (const auto& path : args_.sources[source].tokens) {
    TokenFile file(path);
    if (file.tokenizer_fingerprint() != tokenizer.fingerprint()) {
      throw DataError(path.string() + ": made with another tokenizer than this run's");
    }
    if (file.file_bytes() <= most_bytes_verified) file.verify();
    const auto index = static_cast<std::int32_t>(corpus.files_.size());
    for (std::uint64_t i = 0; i < file.n_documents(); ++i) {
      corpus.places_.push_back({index, i, file.document_tokens(i), file.document_text_bytes(i),
                                source, file.is_running_text(i)});
    }
    corpus.files_.push_back(std::move(file));
  }
}

Corpus SourceText::encode(const Tokenizer& tokenizer) && {
  Corpus corpus;
  corpus.special_ = tokenizer.special();
  corpus.joined_ = JoinedTokens(tokenizer);
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    Document& document = documents_[i];
    const auto ids = encode_document(tokenizer, document);
    corpus.places_.push_back({-1, corpus.ids_.size(), ids.size(), document.text_bytes(),
                              sources_[i], document.is_running_text()});
    corpus.ids_.insert(corpus.ids_.end(), ids.begin(), ids.end());
    document = {};  // the text is not needed twice
  }
  for (std::uint32_t i = 0; i < args_.sources.size(); ++i) open_token_files(i, tokenizer, corpus);
  if (corpus.places_.size() > 0xFFFFFFFF) {
    throw DataError(std::to_string(corpus.places_.size()) +
                    " documents; at most 2^32 - 1 are read");
  }
  divide(corpus);
  return corpus;
}

/// Into documents to train on and documents that are held out.
void SourceText::divide(Corpus& corpus) const {
  for (const Source& source : args_.sources) {
    corpus.sources_.push_back({source.name, source.weight, {}});
  }
  for (std::uint32_t i = 0; i < corpus.n_documents(); ++i) {
    const std::uint32_t source = corpus.places_[i].source;
    if (is_held_out(i, source)) {
      corpus.held_out_.push_back(i);
    } else {
      corpus.training_.push_back(i);
      corpus.sources_[source].training.push_back(i);
    }
  }
  for (const Corpus::Source& source : corpus.sources_) {
    if (!source.training.empty()) continue;
    throw DataError("no document is left to train on" +
                    (source.name.empty() ? "" : " in source " + source.name) + ": " +
                    std::to_string(corpus.held_out_.size()) + " of " +
                    std::to_string(corpus.n_documents()) + " are held out");
  }
}

}  // namespace troupe::runtime
