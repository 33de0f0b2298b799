#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/byte_level.h"
#include "runtime/data/tokenizer/tokenizer_json.h"

namespace troupe::runtime {
namespace {

using nlohmann::json;

/// A value and its place in the file, for errors.
struct Place {
  const json& value;
  std::string path;
  const std::string& file;

  [[noreturn]] void fail(const std::string& found, const std::string& wanted) const {
    throw TokenizerError(file + ": " + path + " is " + found + "; " + wanted);
  }

  /// A short form of what stands here.
  std::string found() const {
    if (value.is_structured()) return value.is_array() ? "an array" : "an object";
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    return text.size() > 80 ? text.substr(0, 80) + "..." : text;
  }

  /// The member `key`; null where there is none.
  Place member(const char* key) const {
    static const json none;
    if (!value.is_object()) fail(found(), "an object is wanted");
    const auto it = value.find(key);
    return {it == value.end() ? none : *it, path.empty() ? key : path + "." + key, file};
  }

  std::vector<Place> elements() const {
    if (value.is_null()) return {};
    if (!value.is_array()) fail(found(), "an array is wanted");
    std::vector<Place> places;
    for (std::size_t i = 0; i < value.size(); ++i) {
      places.push_back({value[i], path + "[" + std::to_string(i) + "]", file});
    }
    return places;
  }

  const std::string& text() const {
    if (!value.is_string()) fail(found(), "a string is wanted");
    return value.get_ref<const std::string&>();
  }

  bool flag(bool absent) const {
    if (value.is_null()) return absent;
    if (!value.is_boolean()) fail(found(), "true or false is wanted");
    return value.get<bool>();
  }

  std::int32_t id() const {
    constexpr std::uint64_t most = 1 << 30;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= most) {
      fail(found(), "a token id below 2^30 is wanted");
    }
    return value.get<std::int32_t>();
  }

  /// Refuses anything but null, "", 0 and false.
  void must_be_unset() const {
    const bool is_zero = value.is_number() && value.get<double>() == 0;
    const bool is_empty = value.is_string() && value.get_ref<const std::string&>().empty();
    if (value.is_null() || is_zero || is_empty || value == false) return;
    fail(found(), "only null is supported");
  }

  std::string type() const { return member("type").text(); }
};

void read_normalizer(const Place& normalizer) {
  if (normalizer.value.is_null()) return;
  if (normalizer.type() != "Sequence") {
    normalizer.fail(normalizer.member("type").found(), "no normalizer is supported");
  }
  for (const Place& step : normalizer.member("normalizers").elements()) read_normalizer(step);
}

/// Post-processors place tokens around a text and trim offsets. Neither is done here: who builds
/// prompts and documents places tokens.
void read_post_processor(const Place& processor) {
  if (processor.value.is_null()) return;
  const std::string type = processor.type();
  if (type == "ByteLevel" || type == "TemplateProcessing") return;
  if (type != "Sequence") {
    processor.fail(processor.member("type").found(),
                   "ByteLevel, TemplateProcessing and Sequence are supported");
  }
  for (const Place& step : processor.member("processors").elements()) read_post_processor(step);
}

void read_decoder(const Place& decoder) {
  if (decoder.value.is_null() || decoder.type() != "ByteLevel") {
    decoder.fail(decoder.value.is_null() ? "null" : decoder.member("type").found(),
                 "ByteLevel is supported");
  }
}

SplitBehavior read_behavior(const Place& behavior) {
  const std::string& text = behavior.text();
  if (text == "Removed") return SplitBehavior::removed;
  if (text == "Isolated") return SplitBehavior::isolated;
  if (text == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (text == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (text == "Contiguous") return SplitBehavior::contiguous;
  behavior.fail(behavior.found(),
                "Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous are known");
}

/// The pattern that matches `text` and nothing else.
std::string quoted(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}-#&").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

SplitStep read_split(const Place& split) {
  const Place pattern = split.member("pattern");
  const Place regex = pattern.member("Regex"), literal = pattern.member("String");
  const bool is_regex = !regex.value.is_null();
  const std::string text = is_regex ? regex.text() : quoted(literal.text());
  return {.pattern = Regex(text, split.file + ": " + (is_regex ? regex : literal).path),
          .behavior = read_behavior(split.member("behavior")),
          .invert = split.member("invert").flag(false)};
}

SplitStep read_digits(const Place& digits) {
  return {.pattern = Regex(R"(\p{N})", digits.path),
          .behavior = digits.member("individual_digits").flag(false) ? SplitBehavior::isolated
                                                                     : SplitBehavior::contiguous,
          .invert = false};
}

/// Appends the steps of one component; ByteLevel must be the last of all.
void read_pre_tokenizer(const Place& component, PreTokenizer::Args& args, bool& complete) {
  if (component.value.is_null()) component.fail("null", "a ByteLevel is wanted");
  const std::string type = component.type();
  if (type == "Sequence") {
    for (const Place& step : component.member("pretokenizers").elements()) {
      read_pre_tokenizer(step, args, complete);
    }
    return;
  }
  if (complete) component.fail(component.member("type").found(), "ByteLevel must come last");
  if (type == "Split") {
    args.steps.push_back(read_split(component));
  } else if (type == "Digits") {
    args.steps.push_back(read_digits(component));
  } else if (type == "ByteLevel") {
    args.add_prefix_space = component.member("add_prefix_space").flag(true);
    args.byte_level_regex = component.member("use_regex").flag(true);
    complete = true;
  } else {
    component.fail(component.member("type").found(),
                   "Sequence, Split, Digits and ByteLevel are supported");
  }
}

/// Token texts and ids of the file, checked to be one to one and dense enough to be a table.
class TokenTable {
 public:
  void add(const Place& place, const std::string& text, std::int32_t id) {
    const auto [known, is_new] = ids_.emplace(text, id);
    if (!is_new && known->second != id) {
      place.fail("token id " + std::to_string(id),
                 "the same token has id " + std::to_string(known->second) + " already");
    }
    if (is_new) highest_ = std::max(highest_, id);
  }

  /// -1 where there is none.
  std::int32_t find(const std::string& text) const {
    const auto known = ids_.find(text);
    return known == ids_.end() ? -1 : known->second;
  }

  std::vector<std::string> by_id(const std::string& file) const {
    if (static_cast<std::size_t>(highest_) > 4 * ids_.size() + 4096) {
      throw TokenizerError(file + ": the highest token id is " + std::to_string(highest_) +
                           ", but there are only " + std::to_string(ids_.size()) + " tokens");
    }
    std::vector<std::string> tokens(static_cast<std::size_t>(highest_ + 1));
    for (const auto& [text, id] : ids_) {
      if (!tokens[id].empty()) {
        throw TokenizerError(file + ": token id " + std::to_string(id) + " is given to both \"" +
                             std::min(text, tokens[id]) + "\" and \"" + std::max(text, tokens[id]) +
                             "\"");
      }
      tokens[id] = text;
    }
    return tokens;
  }

 private:
  std::unordered_map<std::string, std::int32_t> ids_;
  std::int32_t highest_ = -1;
};

void read_vocabulary(const Place& vocabulary, TokenTable& table, Bpe::Args& bpe) {
  if (!vocabulary.value.is_object()) vocabulary.fail(vocabulary.found(), "an object is wanted");
  for (const auto& [text, id] : vocabulary.value.items()) {
    const Place place{id, vocabulary.path, vocabulary.file};
    if (text.empty()) place.fail("an object with an empty token", "tokens have text");
    table.add(place, text, place.id());
    // What is not written in byte symbols, a special token for instance, no word can become.
    if (auto bytes = symbols_to_bytes(text)) bpe.vocabulary.emplace(std::move(*bytes), place.id());
  }
}

/// "left right" or ["left", "right"]
std::pair<std::string, std::string> read_merge(const Place& merge) {
  if (merge.value.is_array() && merge.value.size() == 2) {
    const auto sides = merge.elements();
    return {sides[0].text(), sides[1].text()};
  }
  if (merge.value.is_string()) {
    const std::string& text = merge.text();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  merge.fail(merge.found(), "\"left right\" or [\"left\", \"right\"] is wanted");
}

void read_model(const Place& model, TokenTable& table, Bpe::Args& bpe) {
  // Older files leave the type out.
  const Place type = model.member("type");
  if (!type.value.is_null() && type.text() != "BPE") type.fail(type.found(), "BPE is supported");
  for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model.member(name).must_be_unset();
  }
  bpe.ignore_merges = model.member("ignore_merges").flag(false);
  read_vocabulary(model.member("vocab"), table, bpe);
  const Place merges = model.member("merges");
  if (!merges.value.is_array()) merges.fail(merges.found(), "an array is wanted");
  for (std::size_t i = 0; i < merges.value.size(); ++i) {
    const Place merge{merges.value[i], "model.merges[" + std::to_string(i) + "]", model.file};
    const auto [left, right] = read_merge(merge);
    const BpeMerge ids{table.find(left), table.find(right), table.find(left + right)};
    if (ids.left < 0 || ids.right < 0 || ids.result < 0) {
      merge.fail(merge.found(), "both sides and their joint must be in model.vocab");
    }
    bpe.merges.push_back(ids);
  }
}

AddedToken read_added_token(const Place& token) {
  const bool special = token.member("special").flag(false);
  return {.id = token.member("id").id(),
          .content = token.member("content").text(),
          .special = special,
          .single_word = token.member("single_word").flag(false),
          .lstrip = token.member("lstrip").flag(false),
          .rstrip = token.member("rstrip").flag(false),
          .normalized = token.member("normalized").flag(!special)};
}

json parse(const std::string& text, const std::string& name) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    throw TokenizerError(name + ": not a JSON file: " + error.what());
  }
}

}  // namespace

TokenizerFile read_tokenizer_json(const std::string& text, const std::string& name) {
  const json document = parse(text, name);
  const Place root{document, "", name};
  if (!document.is_object()) throw TokenizerError(name + ": not a JSON object");
  root.member("truncation").must_be_unset();
  root.member("padding").must_be_unset();
  read_normalizer(root.member("normalizer"));
  read_post_processor(root.member("post_processor"));
  read_decoder(root.member("decoder"));

  TokenizerFile file{};
  bool complete = false;
  read_pre_tokenizer(root.member("pre_tokenizer"), file.pre_tokenizer, complete);
  if (!complete) root.member("pre_tokenizer").fail("without a ByteLevel", "one is wanted");

  TokenTable table;
  read_model(root.member("model"), table, file.bpe);
  for (const Place& place : root.member("added_tokens").elements()) {
    AddedToken token = read_added_token(place);
    if (token.content.empty()) continue;
    table.add(place, token.content, token.id);
    file.added_tokens.push_back(std::move(token));
  }
  file.tokens = table.by_id(name);
  return file;
}

}  // namespace troupe::runtime
