#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::runtime {

/// Distinct words, numbered from 0 in the order in which they came. Their bytes lie in one block
/// and their places in one table, so that looking a word up allocates nothing.
class WordTable {
 public:
  static constexpr std::uint32_t none = 0xFFFFFFFF;

  std::uint32_t size() const { return static_cast<std::uint32_t>(words_.size()); }
  std::string_view word(std::uint32_t number) const {
    return std::string_view(bytes_).substr(words_[number].begin, words_[number].size);
  }

  /// The number of `word`, or none.
  std::uint32_t find(std::string_view word) const;

  /// The number of `word`, which is size() before the call if it is new. Throws TokenizerError
  /// beyond 2^31 words.
  std::uint32_t add(std::string_view word);

  void clear();

 private:
  struct Word {
    std::size_t begin, size;  // in bytes_
    std::uint64_t hash;
  };

  /// The slot of `word`, or the empty one where it belongs.
  std::size_t slot_of(std::string_view word, std::uint64_t hash) const;
  void grow();

  std::string bytes_;
  std::vector<Word> words_;
  std::vector<std::uint32_t> slots_;  // a power of two, at most half of them taken; none: empty
};

}  // namespace troupe::runtime
