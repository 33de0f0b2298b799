#include "deploy/model/needle_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "actors/inference/model_folder.h"
#include "actors/inference/needle_scorer.h"
#include "deploy/model/needle_grid.h"
#include "deploy/options/option_checks.h"
#include "deploy/train/run_state.h"
#include "runtime/data/needle/needle.h"
#include "runtime/data/needle/needle_document.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

void add_form_options(CLI::App& command, runtime::NeedleForm& form) {
  command.add_option("--needle-form", form.needle, "with {key} and {value}")
      ->capture_default_str();
  command.add_option("--question-form", form.question, "with {key}; the answer is \" value\"")
      ->capture_default_str();
}

/// Throws std::runtime_error where something stands already.
std::ofstream open_new(const fs::path& path) {
  if (fs::exists(path)) {
    throw std::runtime_error(path.string() +
                             ": found something already, wanted a name that is free");
  }
  std::ofstream file(path);
  if (!file) throw std::runtime_error(path.string() + ": cannot be written");
  return file;
}

void finish(std::ofstream& file, const fs::path& path) {
  if (!file.flush()) throw std::runtime_error(path.string() + ": cannot be written");
}

struct TestOptions {
  ModelChoice model;
  std::vector<int64_t> lengths;
  std::vector<double> depths{0, 25, 50, 75, 100};
  std::vector<std::string> texts;
  runtime::NeedleForm form;
  int trials = 20, needles = 1, questions = 1, candidates = 8;
  uint64_t seed = 1;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  bool is_json = false;
  std::string out;
};

constexpr const char* test_examples = R"(Examples:
  troupe needle test --model runs/needle_tiny --lengths 64,128,256
  troupe needle test --model DIR --lengths 256 --needles 4 --questions 4
  troupe needle test --model DIR --lengths 1024 --text heldout.txt --json \
      --needle-form " The password of {key} is {value}." --question-form " The password of {key} is"

A length counts the tokens of haystack, question and value. The same options give the same prompts
for every model with the same tokenizer. The score of chance among the candidates is one by their
number.)";

std::vector<int32_t> hay_of(const TestOptions& options, const runtime::Tokenizer& tokenizer) {
  std::vector<int32_t> tokens;
  for (const std::string& path : options.texts) {
    const std::string text = runtime::to_valid_utf8(runtime::read_text_file(path));
    const auto more = tokenizer.encode(text, false);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  if (tokens.empty() && !options.texts.empty()) {
    throw std::runtime_error("--text: found no text, wanted some to make hay of");
  }
  return tokens;
}

void check_questions(const TestOptions& options) {
  if (options.questions <= options.needles) return;
  throw std::runtime_error(fmt::format("--questions: found {}, wanted at most the {} of --needles",
                                       options.questions, options.needles));
}

void check_lengths(const TestOptions& options, int64_t positions) {
  for (const int64_t length : options.lengths) {
    if (length <= positions) continue;
    throw std::runtime_error(fmt::format(
        "--lengths: found {}, wanted at most the model's {} positions", length, positions));
  }
}

std::vector<runtime::NeedlePrompt> prompts_of(const TestOptions& options,
                                              const runtime::Tokenizer& tokenizer,
                                              const std::vector<int32_t>& hay, int64_t length,
                                              double depth) {
  std::vector<runtime::NeedlePrompt> prompts;
  for (int trial = 0; trial < options.trials; ++trial) {
    auto more = runtime::make_needle_prompts(
        {.tokenizer = tokenizer, .form = options.form, .text = hay, .length = length,
         .depth = depth, .needles = options.needles, .questions = options.questions,
         .candidates = options.candidates, .seed = options.seed,
         .trial = static_cast<uint32_t>(trial)});
    std::move(more.begin(), more.end(), std::back_inserter(prompts));
  }
  return prompts;
}

NeedleGrid measure(const TestOptions& options, const runtime::Tokenizer& tokenizer,
                   actors::Decoder& decoder) {
  const auto hay = hay_of(options, tokenizer);
  NeedleGrid grid{options.questions, options.lengths, options.depths, {}};
  const bool is_terminal = isatty(STDERR_FILENO) == 1;
  for (const int64_t length : options.lengths) {
    for (const double depth : options.depths) {
      const auto prompts = prompts_of(options, tokenizer, hay, length, depth);
      const auto scores = actors::score_needles(
          {.decoder = decoder, .prompts = prompts, .progress = [&](int64_t done) {
             if (!is_terminal) return;
             fmt::print(stderr, "\rlength {}, depth {} %: {} of {}   ", length, depth, done,
                        prompts.size());
           }});
      grid.cells.push_back(make_cell(length, depth, scores, options.questions));
    }
  }
  if (is_terminal) fmt::print(stderr, "\n");
  return grid;
}

nlohmann::ordered_json json_of(const TestOptions& options, const actors::LoadedModel& model,
                               const NeedleGrid& grid) {
  nlohmann::ordered_json json{{"model", options.model.folder},
                              {"state", model.state},
                              {"trained_context", model.context},
                              {"positions", model.recipe.shape.max_positions},
                              {"seed", options.seed},
                              {"trials", options.trials},
                              {"needles", options.needles},
                              {"questions", options.questions},
                              {"candidates", options.candidates},
                              {"needle_form", options.form.needle},
                              {"question_form", options.form.question},
                              {"text", options.texts}};
  json.update(grid_json(grid));
  return json;
}

void test(const TestOptions& options) {
  const actors::LoadedModel model = load_model(options.model);
  for (const std::string& note : model.notes) std::cerr << "note: " << note << "\n";
  const auto tokenizer =
      actors::load_tokenizer(options.model.folder, model.recipe.shape.vocabulary);
  check_questions(options);
  check_lengths(options, model.recipe.shape.max_positions);
  std::ofstream file;
  if (!options.out.empty()) file = open_new(options.out);
  kernels::ThreadPool pool(options.threads);
  kernels::Queue queue(pool);
  actors::Decoder decoder({.arena = *model.arena, .recipe = model.recipe,
                           .routing_bias = model.routing_bias, .queue = queue,
                           .form = kernels::AttentionForm::expanded, .state = model.state,
                           .page_rows = 64, .reads_ema = model.reads_ema});
  const NeedleGrid grid = measure(options, tokenizer, decoder);
  const auto json = json_of(options, model, grid);
  if (!options.out.empty()) {
    file << json.dump(1) << "\n";
    finish(file, options.out);
  }
  if (options.is_json) {
    std::cout << json.dump() << std::endl;
    return;
  }
  fmt::print("{}, state {}: trained on {} positions, {} needle{}{}, {} candidates, {} trials, "
             "seed {}\n{}",
             options.model.folder, model.state, model.context, options.needles,
             options.needles == 1 ? "" : "s",
             options.questions == 1 ? "" : fmt::format(" of which {} are asked for", options.questions),
             options.candidates, options.trials, options.seed,
             grid_table(grid));
}

void add_test_command(CLI::App& needle) {
  auto options = std::make_shared<TestOptions>();
  CLI::App* command = needle.add_subcommand("test", "ask a model for needles in haystacks");
  command->add_option("--model", options->model.folder, "Hugging Face folder, or run folder")
      ->required();
  add_state_options(*command, options->model);
  command->add_option("--lengths", options->lengths, "tokens of haystack, question and value")
      ->required()->delimiter(',')->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--depths", options->depths, "where the needle stands, in percent")
      ->delimiter(',')->check(in_range(0, 100))->capture_default_str();
  command->add_option("--trials", options->trials, "haystacks of each length and depth")
      ->check(CLI::Range(1, 100000))->capture_default_str();
  command->add_option("--needles", options->needles, "in a haystack")
      ->check(CLI::Range(1, static_cast<int>(runtime::needle_keys().size())))
      ->capture_default_str();
  command->add_option("--questions", options->questions, "needles of a haystack that are asked for")
      ->check(CLI::Range(1, static_cast<int>(runtime::needle_keys().size())))
      ->capture_default_str();
  command->add_option("--candidates", options->candidates, "values that the right one is among")
      ->check(CLI::Range(2, static_cast<int>(runtime::needle_values().size())))
      ->capture_default_str();
  command->add_option("--text", options->texts, "files of hay; default: words drawn by seed");
  add_form_options(*command, options->form);
  command->add_option("--seed", options->seed, "of the haystacks")
      ->check(is_natural)->capture_default_str();
  command->add_option("--threads", options->threads, "that compute")
      ->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_flag("--json", options->is_json, "one JSON object");
  command->add_option("--out", options->out, "a new file for the JSON object");
  command->footer(test_examples);
  command->callback([options] { test(*options); });
}

struct WriteOptions {
  std::string out;
  runtime::NeedleForm form;
  int64_t documents = 0, length = 0;
  int needles = 8, questions = 4;
  double repeats = 0;
  uint64_t seed = 1;
};

void write(const WriteOptions& options) {
  // bos and eos take two tokens.
  const auto document = [&](int64_t number) {
    return runtime::make_needle_document(
        {.form = options.form, .length = options.length - 2, .needles = options.needles,
         .questions = options.questions, .repeats = options.repeats, .seed = options.seed,
         .number = static_cast<uint32_t>(number)});
  };
  document(0);  // what is wrong leaves no file behind
  std::ofstream file = open_new(options.out);
  for (int64_t i = 0; i < options.documents; ++i) {
    file << nlohmann::json{{"text", document(i)}}.dump() << "\n";
  }
  finish(file, options.out);
  fmt::print("{}: {} documents of {} words\n", options.out, options.documents, options.length - 2);
}

void add_write_command(CLI::App& needle) {
  auto options = std::make_shared<WriteOptions>();
  CLI::App* command = needle.add_subcommand("write", "write documents to learn it from, as JSONL");
  command->add_option("--out", options->out, "a new file")->required();
  command->add_option("--documents", options->documents, "how many")
      ->required()->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--length", options->length,
                      "tokens of each, bos and eos too, where a word is a token")
      ->required()->check(CLI::Range(int64_t{3}, int64_t{1} << 24));
  command->add_option("--needles", options->needles, "in a document at most")
      ->check(CLI::Range(1, static_cast<int>(runtime::needle_keys().size())))
      ->capture_default_str();
  command->add_option("--questions", options->questions, "for each needle at most")
      ->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--repeats", options->repeats,
                      "share of documents that are a row of words again and again")
      ->check(in_range(0, 1))->capture_default_str();
  add_form_options(*command, options->form);
  command->add_option("--seed", options->seed, "of the documents")
      ->check(is_natural)->capture_default_str();
  command->callback([options] { write(*options); });
}

}  // namespace

void add_needle_command(CLI::App& app) {
  CLI::App* needle =
      app.add_subcommand("needle", "find needles in haystacks: test, or data for it");
  needle->require_subcommand(1);
  add_test_command(*needle);
  add_write_command(*needle);
}

}  // namespace troupe::deploy
