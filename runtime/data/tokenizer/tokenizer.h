#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::runtime {

/// The tokens that data and prompts are built with. -1 where a vocabulary has none.
struct SpecialTokens {
  std::int32_t bos = -1, eos = -1, pad = -1;
  std::int32_t fim_begin = -1, fim_hole = -1, fim_end = -1;
  std::int32_t user = -1, assistant = -1, system = -1;
};

/// A byte-level BPE as a Hugging Face `tokenizer.json` describes it. Immutable; safe to use from
/// many threads.
///
/// Ids and text are those of the `tokenizers` library without its post-processor, so that no token
/// is added. A component of another kind is refused by its name and its place in the file.
class Tokenizer {
 public:
  /// `path`: a tokenizer.json, or a folder with one; its tokenizer_config.json, where there is one,
  /// names bos, eos and pad. Throws TokenizerError.
  static Tokenizer load(const std::filesystem::path& path);

  /// `json`: the content of a tokenizer.json; errors begin with `name`.
  static Tokenizer from_json(std::string json, const std::string& name);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// The ids of `text`. Special tokens that are written out in it become their ids if
  /// `parse_special`; otherwise they are text like any other, which is right for text of unknown
  /// origin. Throws TokenizerError if `text` is not valid UTF-8: see `to_valid_utf8`.
  std::vector<std::int32_t> encode(std::string_view text, bool parse_special) const;

  /// The text of `ids`; parts that are not UTF-8, such as half a character, become U+FFFD. An id
  /// without a token gives nothing.
  std::string decode(std::span<const std::int32_t> ids) const;

  /// The same without special tokens.
  std::string decode_without_special(std::span<const std::int32_t> ids) const;

  /// The bytes of one token, which need not be whole characters; empty if `id` has none.
  std::string_view token_bytes(std::int32_t id) const;

  bool is_special(std::int32_t id) const;

  /// One more than the highest id: the rows that an embedding needs.
  std::int32_t vocabulary_size() const;

  /// The id of the token that the file writes as `content`.
  std::optional<std::int32_t> token_id(std::string_view content) const;

  const SpecialTokens& special() const;

  /// The files as they were read, so that a copy of them is the same tokenizer. config_json() is
  /// empty if there was no tokenizer_config.json with an object in it.
  const std::string& json() const;
  const std::string& config_json() const;

  /// xxh3 of `json()`.
  std::uint64_t fingerprint() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace troupe::runtime
