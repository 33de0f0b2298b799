#include <nlohmann/json.hpp>

#include "runtime/data/tokenizer/byte_level.h"
#include "runtime/data/tokenizer/tokenizer_defaults.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {
namespace {

using nlohmann::ordered_json;

std::string quoted(const std::string& text) { return ordered_json(text).dump(); }

ordered_json added_token(const std::string& content, std::size_t id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

ordered_json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", false}};
}

ordered_json pre_tokenizer() {
  ordered_json steps = ordered_json::array();
  for (const std::string& pattern : default_split_patterns()) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level());
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

/// The model, written by hand: a vocabulary reads best by id, and ordered JSON is slow at its size.
std::string model(const TrainedTokenizer& trained) {
  std::string text = R"({
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {)";
  std::size_t id = 0;
  const auto add = [&](const std::string& token) {
    text += (id == 0 ? "\n      " : ",\n      ") + quoted(token) + ": " + std::to_string(id);
    ++id;
  };
  for (const std::string& token : trained.special_tokens) add(token);
  for (const std::string& token : trained.tokens) add(bytes_to_symbols(token));
  text += "\n    },\n    \"merges\": [";
  const char* separator = "\n      ";
  for (const auto& [left, right] : trained.merges) {
    text += separator + ("[" + quoted(bytes_to_symbols(left))) + ", " +
            quoted(bytes_to_symbols(right)) + "]";
    separator = ",\n      ";
  }
  return text + "\n    ]\n  }";
}

}  // namespace

std::string write_tokenizer_json(const TrainedTokenizer& trained) {
  ordered_json added = ordered_json::array();
  for (std::size_t id = 0; id < trained.special_tokens.size(); ++id) {
    added.push_back(added_token(trained.special_tokens[id], id));
  }
  std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null";
  const auto add = [&](const char* key, const std::string& value) {
    text += ",\n  \"" + std::string(key) + "\": " + value;
  };
  add("added_tokens", added.dump());
  add("normalizer", "null");
  add("pre_tokenizer", pre_tokenizer().dump());
  add("post_processor", "null");
  add("decoder", byte_level().dump());
  add("model", model(trained));
  return text + "\n}\n";
}

std::string write_tokenizer_config_json() {
  const auto& special = default_special_tokens();
  const ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                               {"bos_token", special[0]},
                               {"eos_token", special[1]},
                               {"pad_token", special[2]},
                               {"add_bos_token", false},
                               {"add_eos_token", false},
                               {"clean_up_tokenization_spaces", false},
                               {"chat_template", default_chat_template()}};
  return config.dump(2) + "\n";
}

}  // namespace troupe::runtime
