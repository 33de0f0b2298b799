// The data of a training run: text, tokenizer, corpus, and a step's tokens.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/train/batch.h"
#include "actors/train/timeline.h"
#include "config/load.h"
#include "runtime/data/batch_sampler.h"
#include "runtime/data/corpus.h"

namespace troupe::deploy {

struct TrainingData {
  std::shared_ptr<const runtime::Tokenizer> tokenizer;
  std::shared_ptr<const runtime::Corpus> corpus;
  std::vector<std::shared_ptr<runtime::BatchSampler>> samplers;  ///< by phase of the run
  std::shared_ptr<const std::vector<runtime::HeldOutDocument>> heldout;
  std::string heldout_text;
  /// The held-out text of each source of a mixture that has some, by the name of a file for it.
  std::map<std::string, std::string> heldout_of_sources;

  /// The training documents, decoded.
  std::string training_text() const;
  /// Of a mixture the sequences of a step by the names of their sources, in the order of the recipe;
  /// none if there is but one source.
  std::vector<std::pair<std::string, uint64_t>> sequences_by_source(
      const actors::StepNumbers& numbers) const;
  /// Micro-batches of a step.
  std::vector<actors::MicroBatch> step(const actors::StepNumbers& numbers) const;
};

/// Reads the run's files, trains or loads its tokenizer, tokenizes. Throws when the tokenizer has
/// another vocabulary than the model, or the text is too small.
TrainingData read_training_data(const config::LoadedRun& run, const config::Model& model);

}  // namespace troupe::deploy
