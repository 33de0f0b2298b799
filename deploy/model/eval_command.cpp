#include "deploy/model/eval_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "actors/inference/model_folder.h"
#include "actors/inference/scorer.h"
#include "deploy/train/run_state.h"
#include "runtime/data/text_documents.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::deploy {
namespace {

struct Options {
  ModelChoice model;
  std::vector<std::string> texts;
  int64_t context = 0;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  bool is_json = false;
};

constexpr const char* examples = R"(Examples:
  troupe eval --model runs/first/model --text runs/first/heldout.txt
  troupe eval --model runs/first --step 100 --ema --text runs/first/heldout.txt
  troupe eval --model runs/mixed --text runs/mixed/heldout/*.txt

Several texts are scored together, and each by itself. Of a run over a mixture, heldout/ has the
held-out text of each source.

Bits per byte do not depend on the tokenizer: a compressor's size in bits, divided by the bytes of
the text, can stand beside them.)";

std::string read_valid_text(const std::string& path) {
  std::string whole = runtime::read_text_file(path);
  if (const size_t offset = runtime::find_invalid_utf8(whole); offset != std::string::npos) {
    throw std::runtime_error(fmt::format("{}: found a byte that is not UTF-8 at {} of {}, wanted "
                                         "text in UTF-8", path, offset, whole.size()));
  }
  return whole;
}

/// The source of a document is its file.
std::vector<runtime::HeldOutDocument> documents_of(const Options& options,
                                                   const runtime::Tokenizer& tokenizer) {
  std::vector<runtime::HeldOutDocument> documents;
  const auto& special = tokenizer.special();
  for (const std::string& path : options.texts) {
    const std::string whole = read_valid_text(path);
    for (const auto& text : runtime::split_documents(path, whole)) {
      runtime::HeldOutDocument document{{}, text.size(), path};
      if (special.bos >= 0) document.tokens.push_back(special.bos);
      for (const int32_t id : tokenizer.encode(text, false)) document.tokens.push_back(id);
      if (special.eos >= 0) document.tokens.push_back(special.eos);
      documents.push_back(std::move(document));
    }
  }
  if (documents.empty()) throw std::runtime_error("--text: found no text, wanted some to score");
  return documents;
}

nlohmann::ordered_json json_of(const actors::Score& score) {
  return {{"bits_per_byte", score.bits_per_byte()},
          {"loss", score.loss()},
          {"tokens", score.tokens},
          {"bytes", score.bytes}};
}

std::string text_of(const actors::Score& score) {
  return fmt::format("bits_per_byte {:.4f}  loss {:.4f}  tokens {}  bytes {}",
                     score.bits_per_byte(), score.loss(), score.tokens, score.bytes);
}

/// `by_file`: where there is more than one, each gets a line of its own behind all.
void print(const actors::Score& total, std::span<const actors::SourceScore> by_file,
           size_t documents, int64_t context) {
  fmt::print("{}  documents {}  context {}\n", text_of(total), documents, context);
  if (by_file.size() < 2) return;
  for (const auto& [path, score] : by_file) fmt::print("{}  text {}\n", text_of(score), path);
}

void print_json(const actors::Score& total, std::span<const actors::SourceScore> by_file,
                size_t documents, int64_t context) {
  nlohmann::ordered_json line = json_of(total);
  line["documents"] = documents;
  line["context"] = context;
  for (const auto& [path, score] : by_file) line["texts"][path] = json_of(score);
  std::cout << line.dump() << std::endl;
}

void evaluate(const Options& options) {
  actors::LoadedModel model = load_model(options.model);
  for (const std::string& note : model.notes) std::cerr << "note: " << note << "\n";
  const auto tokenizer = actors::load_tokenizer(options.model.folder, model.recipe.shape.vocabulary);
  const auto documents = documents_of(options, tokenizer);
  const int64_t limit = model.recipe.shape.max_positions;
  const int64_t context = options.context > 0 ? options.context : model.context;
  if (context > limit) {
    throw std::runtime_error(fmt::format("--context {}: the model has {} positions", context, limit));
  }
  kernels::ThreadPool pool(options.threads);
  kernels::Queue queue(pool);
  actors::Decoder decoder({.arena = *model.arena, .recipe = model.recipe,
                           .routing_bias = model.routing_bias, .queue = queue,
                           .form = kernels::AttentionForm::expanded, .state = model.state,
                           .page_rows = context, .reads_ema = model.reads_ema});
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  const auto scores = actors::score_documents(
      {.decoder = decoder, .queue = queue, .documents = documents, .context = context,
       .progress = [&](int64_t done, int64_t all) {
         if (is_terminal) fmt::print(stderr, "\r{} of {} documents{}", done, all, done == all ? "\n" : "");
       }});
  const auto by_file = actors::scores_by_source(documents, scores);
  (options.is_json ? print_json : print)(actors::sum_of(scores), by_file, documents.size(), context);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("eval", "Score texts with a model, in bits per byte");
  command->add_option("--model", options->model.folder, "Hugging Face folder, or run folder")
      ->required();
  add_state_options(*command, options->model);
  command->add_option("--text", options->texts, "text files; each is scored by itself too")->required();
  command->add_option("--context", options->context,
                      "positions of a window; default: what the model was trained on")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--threads", options->threads, "that compute")
      ->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_flag("--json", options->is_json, "one JSON object");
  command->footer(examples);
  command->callback([options] { evaluate(*options); });
}

}  // namespace troupe::deploy
