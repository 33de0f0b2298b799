#include "deploy/model/generate_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <thread>

#include "actors/inference/decoder.h"
#include "actors/inference/model_folder.h"
#include "actors/inference/sampler.h"
#include "deploy/options/option_checks.h"
#include "deploy/train/run_state.h"
#include "runtime/data/error.h"

namespace troupe::deploy {
namespace {

struct Options {
  ModelChoice model;
  std::string prompt;
  int64_t max_tokens = 128;
  double temperature = 0.8;
  double top_p = 0.95;
  uint64_t seed = 1;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::string form = "expanded";
};

constexpr const char* examples = R"(Examples:
  troupe generate --model runs/first/model --prompt "A computer is"
  troupe generate --model DIR --prompt "Once" --max-tokens 40 --temperature 0   (greedy)

The same model, prompt, options and seed give the same text on every machine.)";

/// Prints text as it becomes whole characters.
class Printer {
 public:
  void add(std::string_view bytes) {
    pending_ += bytes;
    size_t whole = pending_.size();
    // Up to three bytes at the end may be the beginning of a character.
    for (size_t back = 1; back <= 3 && back <= pending_.size(); ++back) {
      const auto c = static_cast<unsigned char>(pending_[pending_.size() - back]);
      if (c < 0x80) break;
      if (c >= 0xC0) {
        const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        if (length > back) whole = pending_.size() - back;
        break;
      }
    }
    std::cout << pending_.substr(0, whole) << std::flush;
    pending_.erase(0, whole);
  }
  void finish() { std::cout << pending_ << std::endl; }

 private:
  std::string pending_;
};

std::vector<int32_t> prompt_tokens(const runtime::Tokenizer& tokenizer, const std::string& prompt) {
  try {
    return tokenizer.encode(prompt, true);
  } catch (const runtime::TokenizerError& error) {
    throw std::runtime_error(std::string("--prompt: ") + error.what());
  }
}

void generate(const Options& options) {
  actors::LoadedModel model = load_model(options.model);
  for (const std::string& note : model.notes) std::cerr << "note: " << note << "\n";
  const auto tokenizer = actors::load_tokenizer(options.model.folder, model.recipe.shape.vocabulary);
  kernels::ThreadPool pool(options.threads);
  kernels::Queue queue(pool);
  actors::Decoder decoder({.arena = *model.arena, .recipe = model.recipe,
                           .routing_bias = model.routing_bias, .queue = queue,
                           .form = options.form == "absorbed" ? kernels::AttentionForm::absorbed
                                                              : kernels::AttentionForm::expanded,
                           .state = model.state, .page_rows = 64,
                           .reads_ema = model.reads_ema});
  const auto& special = tokenizer.special();
  std::vector<int32_t> tokens;
  if (special.bos >= 0) tokens.push_back(special.bos);
  for (const int32_t id : prompt_tokens(tokenizer, options.prompt)) tokens.push_back(id);
  if (tokens.empty()) throw std::runtime_error("--prompt: found no token, wanted at least one");
  if (static_cast<int64_t>(tokens.size()) > decoder.max_positions()) {
    throw std::runtime_error("--prompt: found " + std::to_string(tokens.size()) +
                             " tokens, wanted at most the model's " +
                             std::to_string(decoder.max_positions()) + " positions");
  }

  std::cout << options.prompt << std::flush;
  Printer printer;
  auto sequence = decoder.new_sequence();
  std::vector<int32_t> next = tokens;
  for (int64_t made = 0; made < options.max_tokens; ++made) {
    if (sequence.length() + static_cast<int64_t>(next.size()) > decoder.max_positions()) {
      std::cerr << "\nnote: stopped at the model's " << decoder.max_positions() << " positions";
      break;
    }
    const actors::Decoder::Part part{&sequence, next};
    const kernels::Buffer logits = decoder.logits({&part, 1});
    const float* last =
        kernels::values<float>(logits.view) + (logits.view.rows() - 1) * decoder.vocabulary();
    const int32_t id = actors::sample(
        {.logits = {last, static_cast<size_t>(decoder.vocabulary())},
         .temperature = options.temperature, .top_p = options.top_p, .seed = options.seed,
         .sequence = 0, .position = static_cast<uint64_t>(sequence.length())});
    if (id == special.eos) break;
    if (!tokenizer.is_special(id)) printer.add(tokenizer.token_bytes(id));
    next = {id};
  }
  printer.finish();
}

}  // namespace

void add_generate_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a model");
  command->add_option("--model", options->model.folder, "Hugging Face folder, or run folder")
      ->required();
  add_state_options(*command, options->model);
  command->add_option("--prompt", options->prompt, "text to continue")->required();
  command->add_option("--max-tokens", options->max_tokens, "tokens at most")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))->capture_default_str();
  command->add_option("--temperature", options->temperature, "0: always the likeliest token")
      ->check(in_range(0, 100))->capture_default_str();
  command->add_option("--top-p", options->top_p, "draw from the likeliest tokens of this share")
      ->check(in_range(0, 1))->capture_default_str();
  command->add_option("--seed", options->seed, "of the draw")
      ->check(is_natural)->capture_default_str();
  command->add_option("--threads", options->threads, "that compute")
      ->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--form", options->form, "of attention")
      ->check(CLI::IsMember({"expanded", "absorbed"}))->capture_default_str();
  command->footer(examples);
  command->callback([options] { generate(*options); });
}

}  // namespace troupe::deploy
