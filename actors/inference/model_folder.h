// Models as folders: loaded for generation and scoring, exported at the end of a run.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "actors/train/recipe.h"
#include "config/proto/model.pb.h"
#include "runtime/checkpoint/arena_weights.h"
#include "runtime/checkpoint/huggingface.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

/// A model in memory: a Hugging Face folder as state 0 of an arena, or a state of a run.
struct LoadedModel {
  config::Model model;
  Recipe recipe;  ///< its shape; the rest is empty
  std::unique_ptr<runtime::StateArena> arena;
  std::vector<float> routing_bias;
  std::vector<std::string> notes;  ///< what a user should know
  uint64_t state = 0;
  bool reads_ema = false;          ///< of the weights, in their place
  int64_t context = 0;             ///< positions that it was trained on
};

/// Throws CheckpointError with the file and what is wrong.
LoadedModel load_model_folder(const std::filesystem::path& folder);

/// The folder's tokenizer for a model of `vocabulary` tokens. Throws TokenizerError if it has ids
/// that the model does not know; a model may have more ids than its tokenizer, as the released do.
runtime::Tokenizer load_tokenizer(const std::filesystem::path& folder, int64_t vocabulary);

struct ExportModelArgs {
  std::filesystem::path folder;  ///< must not exist
  const config::Model& model;
  const runtime::StateArena& arena;
  uint64_t state;
  std::vector<float> routing_bias;
  const runtime::Tokenizer* tokenizer;  ///< null: none is written
  int64_t context;                      ///< positions that the model was trained on
  bool takes_ema = false;               ///< of the weights, in their place; the arena has one
  runtime::ExportDType dtype = runtime::ExportDType::f32;
};

/// Weights, config.json, tokenizer.json and tokenizer_config.json, whose model_max_length
/// is `context`. The folder appears complete or not at all.
void export_model(const ExportModelArgs& args);

/// model_max_length of the folder's tokenizer_config.json; `otherwise` if it names none.
int64_t trained_context(const std::filesystem::path& folder, int64_t otherwise);

}  // namespace troupe::actors
