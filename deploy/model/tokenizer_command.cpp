#include "deploy/model/tokenizer_command.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "deploy/write_file.h"
#include "runtime/data/document.h"
#include "runtime/data/jsonl.h"
#include "runtime/data/text_documents.h"
#include "runtime/data/text_file.h"
#include "runtime/data/token_file.h"
#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data/tokenizer/tokenizer.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_list(const std::string& what) {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const json list = json::parse(text, nullptr, false);
  if (list.is_discarded()) throw std::runtime_error("standard input is not JSON; wanted: " + what);
  if (!list.is_array()) throw std::runtime_error("standard input is no JSON list; wanted: " + what);
  return list;
}

void encode(const std::string& model, bool plain) {
  const auto tokenizer = runtime::Tokenizer::load(model);
  const std::string wanted = "a list of texts";
  json result = json::array();
  for (const json& text : read_list(wanted)) {
    if (!text.is_string()) {
      throw std::runtime_error("text " + std::to_string(result.size()) +
                               " is no string; wanted: " + wanted);
    }
    result.push_back(tokenizer.encode(text.get_ref<const std::string&>(), !plain));
  }
  std::cout << result.dump() << std::endl;
}

std::vector<std::int32_t> read_ids(const json& list, std::size_t index,
                                   const runtime::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  const auto size = static_cast<std::uint64_t>(tokenizer.vocabulary_size());
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= size) {
      throw std::runtime_error("list " + std::to_string(index) + " holds " + id.dump() +
                               "; wanted: ids below " + std::to_string(size));
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

void decode(const std::string& model, bool plain) {
  const auto tokenizer = runtime::Tokenizer::load(model);
  json result = json::array();
  for (const json& list : read_list("a list of lists of token ids")) {
    if (!list.is_array()) {
      throw std::runtime_error("element " + std::to_string(result.size()) +
                               " is no list; wanted: a list of token ids");
    }
    const auto ids = read_ids(list, result.size(), tokenizer);
    result.push_back(plain ? tokenizer.decode_without_special(ids) : tokenizer.decode(ids));
  }
  std::cout << result.dump() << std::endl;
}

/// What stands there already is not written over, unless it is an empty file.
void check_free(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return;
  if (fs::is_regular_file(status) && fs::file_size(path, error) == 0) return;
  throw std::runtime_error(path.string() + ": found something already, wanted a name that is free");
}

void make_folder(const fs::path& path) {
  if (path.empty()) return;
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw std::runtime_error(path.string() + ": cannot be made: " + error.message());
}

struct TrainOptions {
  std::vector<std::string> texts;
  std::int32_t vocabulary_size = 0;
  std::string out;
};

void train(const TrainOptions& options) {
  const bool is_file = fs::path(options.out).extension() == ".json";
  const fs::path file = is_file ? fs::path(options.out) : fs::path(options.out) / "tokenizer.json";
  check_free(file);
  runtime::BpeTrainer trainer;
  for (const std::string& path : options.texts) {
    trainer.add(runtime::to_valid_utf8(runtime::read_text_file(path)));
  }
  const runtime::TrainedTokenizer trained = trainer.train(options.vocabulary_size);
  make_folder(file.parent_path());
  write_file(file, runtime::write_tokenizer_json(trained));
  if (!is_file) {
    write_file(file.parent_path() / "tokenizer_config.json",
               runtime::write_tokenizer_config_json());
  }
  std::cout << file.string() << ": " << trained.special_tokens.size() + trained.tokens.size()
            << " tokens\n";
}

struct PackOptions {
  std::string model;
  std::vector<std::string> texts, jsonl;
  std::string out;
};

void pack(const PackOptions& options) {
  check_free(options.out);
  const auto tokenizer = runtime::Tokenizer::load(options.model);
  runtime::TokenFileWriter writer({.path = options.out,
                                   .vocabulary_size = tokenizer.vocabulary_size(),
                                   .tokenizer_fingerprint = tokenizer.fingerprint()});
  std::uint64_t n_documents = 0, n_tokens = 0;
  const auto add = [&](const std::vector<runtime::Document>& documents) {
    for (const runtime::Document& document : documents) {
      const auto ids = runtime::encode_document(tokenizer, document);
      writer.add(ids, document.text_bytes(), document.is_running_text());
      n_tokens += ids.size();
    }
    n_documents += documents.size();
  };
  for (const std::string& path : options.texts) add(runtime::read_text_documents(path));
  for (const std::string& path : options.jsonl) {
    add(runtime::read_jsonl(runtime::read_text_file(path), path));
  }
  writer.finish();
  std::cout << options.out << ": " << n_documents << " documents, " << n_tokens << " tokens\n";
}

void add_pack(CLI::App& tokenizer) {
  auto* command = tokenizer.add_subcommand("pack", "turn text into a token file for data.tokens");
  auto options = std::make_shared<PackOptions>();
  command->add_option("--model", options->model, "a tokenizer.json, or a model folder with one")
      ->required();
  auto* texts = command->add_option_group("what to pack");
  texts->add_option("--text", options->texts, "text files, plain or gzip");
  texts->add_option("--jsonl", options->jsonl, "JSON Lines files, plain or gzip");
  texts->require_option();
  command->add_option("--out", options->out, "the token file")->required();
  command->footer(
      "example:\n"
      "  troupe tokenizer pack --model my_tokenizer --text a.txt b.txt.gz --out ab.tokens");
  command->callback([options] { pack(*options); });
}

void add_train(CLI::App& tokenizer) {
  auto* command = tokenizer.add_subcommand("train", "learn a byte-level BPE from text files");
  auto options = std::make_shared<TrainOptions>();
  command->add_option("--text", options->texts, "text files, plain or gzip")->required();
  command
      ->add_option("--vocab-size", options->vocabulary_size,
                   "tokens, special tokens and the 256 bytes included")
      ->required();
  command
      ->add_option("--out", options->out,
                   "a .json file, or a folder for tokenizer.json and tokenizer_config.json")
      ->required();
  command->footer(
      "example:\n"
      "  troupe tokenizer train --text a.txt b.txt.gz --vocab-size 1024 --out my_tokenizer");
  command->callback([options] { train(*options); });
}

using Action = void (*)(const std::string& model, bool plain);

struct CodingCommand {
  const char* name;
  const char* purpose;
  const char* plain_purpose;
  const char* example;
  Action action;
};

void add_coding(CLI::App& tokenizer, const CodingCommand& coding) {
  auto* command = tokenizer.add_subcommand(coding.name, coding.purpose);
  auto model = std::make_shared<std::string>();
  auto plain = std::make_shared<bool>(false);
  command->add_option("--model", *model, "a tokenizer.json, or a model folder with one")
      ->required();
  command->add_flag("--no-special", *plain, coding.plain_purpose);
  command->footer(coding.example);
  command->callback([model, plain, action = coding.action] { action(*model, *plain); });
}

}  // namespace

void add_tokenizer_command(CLI::App& app) {
  auto* tokenizer = app.add_subcommand("tokenizer", "train a tokenizer, or use one");
  tokenizer->require_subcommand(1);
  tokenizer->footer(
      "examples:\n"
      "  troupe tokenizer train --text corpus.txt --vocab-size 1024 --out my_tokenizer\n"
      "  troupe tokenizer pack --text corpus.txt --model my_tokenizer --out corpus.tokens\n"
      "  echo '[\"Hello, world\"]' | troupe tokenizer encode --model my_tokenizer\n"
      "  echo '[[42, 117]]' | troupe tokenizer decode --model my_tokenizer");
  add_train(*tokenizer);
  add_pack(*tokenizer);
  add_coding(*tokenizer,
             {.name = "encode",
              .purpose = "turn a JSON list of texts on standard input into a JSON list of id lists",
              .plain_purpose = "special tokens written out in a text are ordinary text",
              .example = "example:\n"
                         "  echo '[\"Hello, world\"]' | troupe tokenizer encode --model DIR",
              .action = encode});
  add_coding(*tokenizer,
             {.name = "decode",
              .purpose = "turn a JSON list of id lists on standard input into a JSON list of texts",
              .plain_purpose = "leave special tokens out",
              .example = "example:\n"
                         "  echo '[[42, 117]]' | troupe tokenizer decode --model DIR",
              .action = decode});
}

}  // namespace troupe::deploy
