#include "runtime/data/tokenizer/tokenizer.h"

#include <xxhash.h>

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "runtime/data/error.h"
#include "runtime/data/text_file.h"
#include "runtime/data/tokenizer/byte_level.h"
#include "runtime/data/tokenizer/tokenizer_json.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t most_file_bytes = 1 << 28;

/// The content of bos_token and its like in a tokenizer_config.json: a string, or an object.
std::string configured_token(const nlohmann::json& config, const char* key) {
  if (!config.is_object() || !config.contains(key)) return "";
  const auto& token = config[key];
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string()) {
    return token["content"].get<std::string>();
  }
  return "";
}

}  // namespace

struct Tokenizer::Parts {
  std::string json;
  std::string config_json;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokenFinder added;
  std::unordered_map<std::string, std::int32_t> ids;  // by the text in the file
  std::vector<std::string> bytes;                     // by id
  std::vector<bool> is_special;                       // by id
  SpecialTokens special;

  Parts(std::string text, TokenizerFile file)
      : json(std::move(text)),
        pre_tokenizer(std::move(file.pre_tokenizer)),
        bpe(std::move(file.bpe)),
        added(std::move(file.added_tokens)),
        is_special(file.tokens.size()) {
    for (std::size_t id = 0; id < file.tokens.size(); ++id) {
      std::string& token = file.tokens[id];
      if (!token.empty()) ids.emplace(token, static_cast<std::int32_t>(id));
      auto as_bytes = symbols_to_bytes(token);
      bytes.push_back(as_bytes ? std::move(*as_bytes) : std::move(token));
    }
    for (const AddedToken& token : added.tokens()) is_special[token.id] = token.special;
    name_special_tokens();
  }

  std::int32_t find(const std::string& token) const {
    const auto found = ids.find(token);
    return found == ids.end() ? -1 : found->second;
  }

  void name_special_tokens() {
    special = {.bos = find("<｜begin▁of▁sentence｜>"),
               .eos = find("<｜end▁of▁sentence｜>"),
               .pad = find("<｜▁pad▁｜>"),
               .fim_begin = find("<｜fim▁begin｜>"),
               .fim_hole = find("<｜fim▁hole｜>"),
               .fim_end = find("<｜fim▁end｜>"),
               .user = find("<｜User｜>"),
               .assistant = find("<｜Assistant｜>"),
               .system = find("<｜System｜>")};
  }

  /// What the folder's tokenizer_config.json calls bos, eos and pad goes before the names above.
  void apply_config(const std::string& name, const std::string& text) {
    const auto config = nlohmann::json::parse(text, nullptr, false);
    if (config.is_discarded()) throw TokenizerError(name + ": not a JSON file");
    const auto apply = [&](const char* key, std::int32_t& id) {
      const std::string token = configured_token(config, key);
      if (token.empty()) return;
      id = find(token);
      if (id < 0) throw TokenizerError(name + ": " + key + " \"" + token + "\" is no token");
    };
    if (config.is_object()) config_json = text;
    apply("bos_token", special.bos);
    apply("eos_token", special.eos);
    apply("pad_token", special.pad);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::from_json(std::string json, const std::string& name) {
  TokenizerFile file = read_tokenizer_json(json, name);
  try {
    return Tokenizer(std::make_unique<Parts>(std::move(json), std::move(file)));
  } catch (const TokenizerError& error) {
    throw TokenizerError(name + ": " + error.what());
  }
}

Tokenizer Tokenizer::load(const fs::path& path) {
  const bool is_folder = fs::is_directory(path);
  const fs::path file = is_folder ? path / "tokenizer.json" : path;
  try {
    Tokenizer tokenizer = from_json(read_text_file(file, most_file_bytes), file.string());
    const fs::path config = file.parent_path() / "tokenizer_config.json";
    if (fs::exists(config)) {
      tokenizer.parts_->apply_config(config.string(), read_text_file(config, most_file_bytes));
    }
    return tokenizer;
  } catch (const DataError& error) {
    throw TokenizerError(error.what());
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  if (const std::size_t offset = find_invalid_utf8(text); offset != std::string_view::npos) {
    throw TokenizerError("text is not valid UTF-8 at byte " + std::to_string(offset) + " of " +
                         std::to_string(text.size()));
  }
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 1);
  for (const TokenOrText& part : parts_->added.split(text, parse_special)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    const Words words = parts_->pre_tokenizer.split(part.text);
    for (const std::string_view word : words.views) parts_->bpe.encode(word, ids);
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (const std::int32_t id : ids) bytes += token_bytes(id);
  return to_valid_utf8(bytes);
}

std::string Tokenizer::decode_without_special(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (!is_special(id)) bytes += token_bytes(id);
  }
  return to_valid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  return id >= 0 && id < vocabulary_size() ? std::string_view(parts_->bytes[id]) : "";
}

bool Tokenizer::is_special(std::int32_t id) const {
  return id >= 0 && id < vocabulary_size() && parts_->is_special[id];
}

std::int32_t Tokenizer::vocabulary_size() const {
  return static_cast<std::int32_t>(parts_->bytes.size());
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view content) const {
  const std::int32_t id = parts_->find(std::string(content));
  return id < 0 ? std::nullopt : std::optional(id);
}

const SpecialTokens& Tokenizer::special() const { return parts_->special; }
const std::string& Tokenizer::json() const { return parts_->json; }
const std::string& Tokenizer::config_json() const { return parts_->config_json; }

std::uint64_t Tokenizer::fingerprint() const {
  return XXH3_64bits(parts_->json.data(), parts_->json.size());
}

}  // namespace troupe::runtime
