#include "deploy/train/training_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "config/phases.h"
#include "deploy/process/memory_use.h"
#include "kernels/random.h"
#include "runtime/data/tokenizer/bpe_trainer.h"

namespace troupe::deploy {
namespace {

std::vector<std::filesystem::path> paths(
    const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

/// `files`: Data or DataSource.
template <class Files>
runtime::SourceText::Source source_of(const Files& files) {
  return {.name = {},
          .text = paths(files.text()),
          .jsonl = paths(files.jsonl()),
          .tokens = paths(files.tokens()),
          .holdout = files.holdout(),
          .weight = 1};
}

std::vector<runtime::SourceText::Source> sources_of(const config::Data& data) {
  if (data.source_size() == 0) return {source_of(data)};
  std::vector<runtime::SourceText::Source> sources;
  for (const config::DataSource& each : data.source()) {
    sources.push_back(source_of(each));
    sources.back().name = each.name();
    sources.back().weight = each.weight();
    if (!each.has_holdout()) sources.back().holdout = data.holdout();
  }
  return sources;
}

std::shared_ptr<const runtime::Tokenizer> tokenizer_of(const config::LoadedRun& run,
                                                       const runtime::SourceText& source) {
  const config::Data& data = run.run.data();
  if (data.tokenizer().has_file()) {
    return std::make_shared<const runtime::Tokenizer>(
        runtime::Tokenizer::load(data.tokenizer().file()));
  }
  if (run.run.model().has_huggingface() && !data.tokenizer().has_train()) {
    return std::make_shared<const runtime::Tokenizer>(
        runtime::Tokenizer::load(run.run.model().huggingface()));
  }
  const runtime::TrainedTokenizer trained =
      source.train_tokenizer(data.tokenizer().train().vocab_size());
  return std::make_shared<const runtime::Tokenizer>(runtime::Tokenizer::from_json(
      runtime::write_tokenizer_json(trained), "the trained tokenizer"));
}

/// A later phase shuffles the documents in an order of its own.
uint64_t seed_of_phase(uint64_t seed, size_t phase) {
  if (phase == 0) return seed;
  return kernels::random_bits({.seed = seed,
                               .purpose = kernels::Purpose::phase,
                               .stream = static_cast<uint32_t>(phase),
                               .position = 0});
}

std::string decoded(const runtime::Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  return tokenizer.decode_without_special(tokens) + "\n";
}

/// A name of letters, digits, dots and dashes, that no other source has.
std::string file_name_of(const runtime::Corpus& corpus, const std::string& source) {
  const auto has_name = [&](const auto& other) { return other.name == source; };
  const auto& all = corpus.sources();
  const auto number = std::find_if(all.begin(), all.end(), has_name) - all.begin();
  std::string name = fmt::format("{}-{}.txt", number, source);
  const auto is_other = [](char c) {
    return !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
           c != '-' && c != '.';
  };
  std::replace_if(name.begin(), name.end(), is_other, '_');
  return name;
}

void take_held_out(TrainingData& data) {
  auto heldout = std::make_shared<std::vector<runtime::HeldOutDocument>>();
  for (size_t i = 0; i < data.corpus->held_out().size(); ++i) {
    const auto& document = heldout->emplace_back(data.corpus->held_out_document(i));
    const std::string text = decoded(*data.tokenizer, document.tokens);
    data.heldout_text += text;
    if (document.source.empty()) continue;
    data.heldout_of_sources[file_name_of(*data.corpus, document.source)] += text;
  }
  data.heldout = std::move(heldout);
}

}  // namespace

std::string TrainingData::training_text() const {
  std::string text;
  std::vector<int32_t> tokens;
  for (const uint32_t document : corpus->training()) {
    tokens.resize(corpus->document_tokens(document));
    corpus->read(document, 0, tokens);
    text += decoded(*tokenizer, tokens);
  }
  return text;
}

std::vector<std::pair<std::string, uint64_t>> TrainingData::sequences_by_source(
    const actors::StepNumbers& numbers) const {
  std::vector<std::pair<std::string, uint64_t>> sequences;
  const auto& sources = corpus->sources();
  if (sources.front().name.empty()) return sequences;
  const auto counts = samplers[numbers.phase]->counts(
      numbers.first_sequence, static_cast<uint64_t>(numbers.micro_batches * numbers.sequences));
  for (size_t i = 0; i < sources.size(); ++i) sequences.emplace_back(sources[i].name, counts[i]);
  return sequences;
}

std::vector<actors::MicroBatch> TrainingData::step(const actors::StepNumbers& numbers) const {
  std::vector<actors::MicroBatch> batches;
  const auto sequences = static_cast<uint64_t>(numbers.sequences);
  std::vector<int32_t> tokens(sequences * static_cast<uint64_t>(numbers.sequence_rows + 1));
  uint64_t first = numbers.first_sequence;
  for (int64_t m = 0; m < numbers.micro_batches; ++m, first += sequences) {
    samplers[numbers.phase]->fill(first, sequences, tokens);
    batches.push_back(actors::make_micro_batch(tokens, numbers.sequences));
  }
  return batches;
}

TrainingData read_training_data(const config::LoadedRun& run, const config::Model& model) {
  const config::Data& data = run.run.data();
  runtime::SourceText source({.sources = sources_of(data), .seed = run.run.train().seed()});
  TrainingData out;
  out.tokenizer = tokenizer_of(run, source);
  if (out.tokenizer->vocabulary_size() != model.vocab_size()) {
    const bool is_trained = !data.tokenizer().has_file() && data.tokenizer().has_train();
    throw std::runtime_error(fmt::format(
        "{}: found {} tokens, wanted {}, vocab_size of the model{}",
        is_trained ? "data.tokenizer.train" : "data.tokenizer.file",
        out.tokenizer->vocabulary_size(), model.vocab_size(),
        is_trained ? "; the text that is not held out has too few repeated pairs for more" : ""));
  }
  out.corpus = std::make_shared<const runtime::Corpus>(std::move(source).encode(*out.tokenizer));
  const auto phases = config::phases_of(run.run, config::positions_of(model));
  for (size_t phase = 0; phase < phases.size(); ++phase) {
    out.samplers.push_back(std::make_shared<runtime::BatchSampler>(
        runtime::BatchSampler::Args{.corpus = *out.corpus,
                                    .seed = seed_of_phase(run.run.train().seed(), phase),
                                    .seq_len = phases[phase].seq_len,
                                    .fim_rate = data.fim_rate(),
                                    .split_joined_rate = data.split_joined_rate()}));
  }
  take_held_out(out);
  give_back_freed_memory();  // texts, and what a tokenizer was learned from
  return out;
}

}  // namespace troupe::deploy
