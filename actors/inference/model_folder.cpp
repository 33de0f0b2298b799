#include "actors/inference/model_folder.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/tokenizer_json.h"
#include "runtime/model_shape.h"

namespace troupe::actors {
namespace {

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text << std::flush;
  if (!file) throw runtime::StateError("cannot write " + path.string());
}

/// The tokenizer's own, or the default one without names that are none of its tokens.
std::string tokenizer_config(const runtime::Tokenizer& tokenizer, int64_t context) {
  const bool has_own = !tokenizer.config_json().empty();
  auto json = nlohmann::ordered_json::parse(has_own ? tokenizer.config_json()
                                                    : runtime::write_tokenizer_config_json());
  for (const char* key : {"bos_token", "eos_token", "pad_token"}) {
    if (has_own || !json.contains(key)) continue;
    if (!tokenizer.token_id(json[key].get<std::string>())) json.erase(key);
  }
  json["model_max_length"] = context;
  return json.dump(2) + "\n";
}

}  // namespace

LoadedModel load_model_folder(const std::filesystem::path& folder) {
  runtime::HuggingFaceModel source = runtime::open_huggingface(folder);
  LoadedModel loaded;
  loaded.model = source.model;
  loaded.notes = source.notes;
  loaded.recipe.shape = runtime::model_shape(source.model);
  loaded.recipe.micro_batches = 1;
  loaded.arena = std::make_unique<runtime::StateArena>(kernels::parameters(loaded.recipe.shape));
  loaded.routing_bias = runtime::load_weights(*source.weights, *loaded.arena);
  loaded.context = trained_context(folder, loaded.recipe.shape.max_positions);
  return loaded;
}

runtime::Tokenizer load_tokenizer(const std::filesystem::path& folder, int64_t vocabulary) {
  auto tokenizer = runtime::Tokenizer::load(folder);
  if (tokenizer.vocabulary_size() > vocabulary) {
    throw runtime::TokenizerError(folder.string() + ": tokenizer.json has " +
                                  std::to_string(tokenizer.vocabulary_size()) +
                                  " tokens, wanted at most the model's vocab_size, " +
                                  std::to_string(vocabulary));
  }
  return tokenizer;
}

void export_model(const ExportModelArgs& args) {
  const bool has_tokenizer = args.tokenizer != nullptr;
  const auto sink = runtime::create_huggingface(
      {.folder = args.folder, .model = args.model, .dtype = args.dtype,
       .bos_token_id = has_tokenizer ? args.tokenizer->special().bos : -1,
       .eos_token_id = has_tokenizer ? args.tokenizer->special().eos : -1,
       .largest_file_bytes = int64_t{5'000'000'000}});
  runtime::save_weights({.arena = args.arena, .state = args.state,
                         .routing_bias = args.routing_bias, .takes_ema = args.takes_ema},
                        *sink);
  if (has_tokenizer) {
    write_text(sink->partial_folder() / "tokenizer.json", args.tokenizer->json());
    write_text(sink->partial_folder() / "tokenizer_config.json",
               tokenizer_config(*args.tokenizer, args.context));
  }
  sink->finish();
}

int64_t trained_context(const std::filesystem::path& folder, int64_t otherwise) {
  std::ifstream file(folder / "tokenizer_config.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  const auto found = json.is_object() ? json.find("model_max_length") : json.end();
  if (json.is_discarded() || found == json.end() || !found->is_number_integer()) return otherwise;
  const auto context = found->get<int64_t>();
  return context >= 2 && context < otherwise ? context : otherwise;
}

}  // namespace troupe::actors
