#include "runtime/data/tokenizer/bpe.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <queue>
#include <tuple>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/word_table.h"

namespace troupe::runtime {
namespace {

constexpr std::int32_t no_rank = 0x7FFFFFFF;

/// Up to here looking at all pairs for each merge is faster than a queue of candidates.
constexpr std::size_t short_word_bytes = 48;

bool occurs_in_utf8(int byte) { return byte != 0xC0 && byte != 0xC1 && byte < 0xF5; }

/// A token of the word being merged, linked to its neighbours.
struct Symbol {
  std::int32_t id;
  std::int32_t previous, next;  // -1: none
  std::uint32_t bytes;          // 0: merged into the one before it
};

/// A merge that could be made; stale once the tokens it names have changed.
struct Candidate {
  std::int32_t rank, position, result;
  std::uint32_t bytes;  // of both tokens: tells a stale candidate

  bool operator>(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

}  // namespace

/// The ids of words seen before. Results do not depend on it: whoever finds it in use goes without.
struct Bpe::Cache {
  static constexpr std::size_t max_word_bytes = 64;
  static constexpr std::size_t max_words = 1 << 18;

  struct Span {
    std::uint32_t begin, count;
  };

  std::mutex mutex;
  WordTable words;
  std::vector<Span> spans;  // of ids, by the word's number
  std::vector<std::int32_t> ids;

  bool find(std::string_view word, std::vector<std::int32_t>& out) {
    const std::unique_lock lock(mutex, std::try_to_lock);
    if (!lock) return false;
    const std::uint32_t number = words.find(word);
    if (number == WordTable::none) return false;
    const auto begin = ids.begin() + spans[number].begin;
    out.insert(out.end(), begin, begin + spans[number].count);
    return true;
  }

  void insert(std::string_view word, const std::int32_t* begin, std::size_t count) {
    const std::unique_lock lock(mutex, std::try_to_lock);
    if (!lock) return;
    if (words.size() >= max_words) {
      words.clear();
      spans.clear();
      ids.clear();
    }
    if (words.add(word) < spans.size()) return;
    spans.push_back({static_cast<std::uint32_t>(ids.size()), static_cast<std::uint32_t>(count)});
    ids.insert(ids.end(), begin, begin + count);
  }
};

Bpe::Bpe(Args args)
    : vocabulary_(std::move(args.vocabulary)),
      ignore_merges_(args.ignore_merges),
      cache_(std::make_unique<Cache>()) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary_.find(std::string(1, static_cast<char>(byte)));
    byte_ids_[byte] = found == vocabulary_.end() ? -1 : found->second;
    if (byte_ids_[byte] < 0 && occurs_in_utf8(byte)) {
      char text[8];
      std::snprintf(text, sizeof text, "0x%02X", byte);
      throw TokenizerError("model.vocab has no token for the byte " + std::string(text) +
                           "; a byte-level vocabulary has one for each byte");
    }
  }
  for (std::size_t rank = 0; rank < args.merges.size(); ++rank) {
    const BpeMerge& merge = args.merges[rank];
    const std::uint32_t number = pairs_.add(token_pair(merge.left, merge.right));
    rules_.resize(pairs_.size());
    rules_[number] = {static_cast<std::int32_t>(rank), merge.result};
  }
}

Bpe::~Bpe() = default;
Bpe::Bpe(Bpe&&) noexcept = default;
Bpe& Bpe::operator=(Bpe&&) noexcept = default;

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (word.empty()) return;
  const bool cached = word.size() <= Cache::max_word_bytes;
  if (cached && cache_->find(word, ids)) return;
  const std::size_t begin = ids.size();
  const auto whole = ignore_merges_ ? vocabulary_.find(std::string(word)) : vocabulary_.end();
  if (whole != vocabulary_.end()) {
    ids.push_back(whole->second);
  } else {
    word.size() <= short_word_bytes ? merge_short_word(word, ids) : merge_long_word(word, ids);
  }
  if (cached) cache_->insert(word, ids.data() + begin, ids.size() - begin);
}

std::int32_t Bpe::byte_id(std::string_view word, std::size_t position) const {
  const std::int32_t id = byte_ids_[static_cast<std::uint8_t>(word[position])];
  if (id < 0) {
    throw TokenizerError("a byte that is not UTF-8 at offset " + std::to_string(position));
  }
  return id;
}

Bpe::Rule Bpe::rule(std::int32_t left, std::int32_t right) const {
  const std::uint32_t number = pairs_.find(token_pair(left, right));
  return number == PairTable::none ? Rule{no_rank, -1} : rules_[number];
}

void Bpe::merge_short_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  std::int32_t tokens[short_word_bytes];
  Rule rules[short_word_bytes];  // of a token and the one behind it; the last has none
  std::size_t size = word.size();
  for (std::size_t i = 0; i < size; ++i) tokens[i] = byte_id(word, i);
  for (std::size_t i = 0; i + 1 < size; ++i) rules[i] = rule(tokens[i], tokens[i + 1]);
  while (size > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < size; ++i) {
      if (rules[i].rank < rules[best].rank) best = i;
    }
    if (rules[best].rank == no_rank) break;
    tokens[best] = rules[best].result;
    --size;
    std::copy(tokens + best + 2, tokens + size + 1, tokens + best + 1);
    std::copy(rules + best + 1, rules + size, rules + best);
    if (best > 0) rules[best - 1] = rule(tokens[best - 1], tokens[best]);
    if (best + 1 < size) rules[best] = rule(tokens[best], tokens[best + 1]);
  }
  ids.insert(ids.end(), tokens, tokens + size);
}

void Bpe::merge_long_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (word.size() > 0x7FFFFFFF) throw TokenizerError("a word of more than 2^31 bytes");
  const auto size = static_cast<std::int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (std::int32_t i = 0; i < size; ++i) {
    symbols[i] = {byte_id(word, i), i - 1, i + 1 < size ? i + 1 : -1, 1};
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](std::int32_t position) {
    if (position < 0 || symbols[position].next < 0) return;
    const Symbol& left = symbols[position];
    const Symbol& right = symbols[left.next];
    const Rule found = rule(left.id, right.id);
    if (found.rank == no_rank) return;
    candidates.push({found.rank, position, found.result, left.bytes + right.bytes});
  };
  for (std::int32_t i = 0; i < size; ++i) consider(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.position];
    if (left.bytes == 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    if (left.bytes + right.bytes != best.bytes) continue;
    // A token only ever grows, so equal bytes mean the two tokens the candidate was made for.
    left = {best.result, left.previous, right.next, best.bytes};
    right.bytes = 0;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    consider(best.position);
    consider(left.previous);
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace troupe::runtime
