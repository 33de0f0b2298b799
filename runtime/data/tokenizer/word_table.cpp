#include "runtime/data/tokenizer/word_table.h"

#include <xxhash.h>

#include <algorithm>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

constexpr std::size_t first_slots = 1 << 10;
constexpr std::uint32_t most_words = std::uint32_t{1} << 31;

std::uint64_t hash_of(std::string_view word) { return XXH3_64bits(word.data(), word.size()); }

}  // namespace

std::size_t WordTable::slot_of(std::string_view word, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const std::uint32_t number = slots_[slot];
    if (number == none) return slot;
    if (words_[number].hash == hash && this->word(number) == word) return slot;
  }
}

std::uint32_t WordTable::find(std::string_view word) const {
  return slots_.empty() ? none : slots_[slot_of(word, hash_of(word))];
}

std::uint32_t WordTable::add(std::string_view word) {
  if (2 * words_.size() >= slots_.size()) grow();
  const std::uint64_t hash = hash_of(word);
  std::uint32_t& number = slots_[slot_of(word, hash)];
  if (number != none) return number;
  if (size() >= most_words) throw TokenizerError("more than 2^31 different words");
  number = size();
  words_.push_back({bytes_.size(), word.size(), hash});
  bytes_ += word;
  return number;
}

void WordTable::grow() {
  slots_.assign(std::max(first_slots, 2 * slots_.size()), none);
  const std::size_t mask = slots_.size() - 1;
  for (std::uint32_t number = 0; number < size(); ++number) {
    std::size_t slot = words_[number].hash & mask;
    while (slots_[slot] != none) slot = (slot + 1) & mask;
    slots_[slot] = number;
  }
}

void WordTable::clear() {
  bytes_.clear();
  words_.clear();
  std::fill(slots_.begin(), slots_.end(), none);
}

}  // namespace troupe::runtime
