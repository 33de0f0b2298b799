#include "runtime/data/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <utility>
#include <vector>

#include "runtime/data/byte_level.h"
#include "runtime/data/error.h"
#include "runtime/data/tokenizer_defaults.h"
#include "runtime/data/utf8.h"

namespace troupe::runtime {
namespace {

using Pair = std::uint64_t;  // left id in the upper half: pairs compare as (left, right)

Pair make_pair(std::int32_t left, std::int32_t right) {
  return (static_cast<Pair>(left) << 32) | static_cast<std::uint32_t>(right);
}

struct Word {
  std::vector<std::int32_t> ids;
  std::int64_t count;
};

/// A pair by its count at the time it was queued: the best first.
struct Queued {
  std::int64_t count;
  Pair pair;
  bool operator<(const Queued& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// Counts of all pairs, kept up to date while words change.
class PairCounts {
 public:
  explicit PairCounts(std::vector<Word> words) : words_(std::move(words)) {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      const Word& word = words_[w];
      for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
        change(make_pair(word.ids[i], word.ids[i + 1]), word.count, w);
      }
    }
    queue_changed();
  }

  /// The pair with the highest count, or a count of 0 if none is left.
  Queued best() {
    while (!queue_.empty()) {
      const Queued top = queue_.top();
      queue_.pop();
      const std::int64_t count = pairs_[top.pair].count;
      if (count == top.count) return top;
      if (count > 0) queue_.push({count, top.pair});  // fewer than when it was queued
    }
    return {0, 0};
  }

  /// Replaces `pair` by `result` in all words.
  void merge(Pair pair, std::int32_t result) {
    std::vector<std::uint32_t> words = std::move(pairs_[pair].words);
    pairs_[pair] = {};
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    for (const std::uint32_t w : words) merge_in(w, pair, result);
    queue_changed();
  }

 private:
  struct State {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // where it occurs, or once did
  };

  void change(Pair pair, std::int64_t by, std::size_t word) {
    State& state = pairs_[pair];
    state.count += by;
    if (by < 0) return;
    const auto index = static_cast<std::uint32_t>(word);
    if (state.words.empty() || state.words.back() != index) state.words.push_back(index);
    changed_.push_back(pair);
  }

  void merge_in(std::uint32_t w, Pair pair, std::int32_t result) {
    Word& word = words_[w];
    auto& ids = word.ids;
    const std::vector<std::int32_t> before = ids;
    std::size_t length = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const bool here = i + 1 < before.size() && make_pair(before[i], before[i + 1]) == pair;
      ids[length++] = here ? result : before[i];
      if (here) ++i;
    }
    if (length == before.size()) return;
    ids.resize(length);
    for (std::size_t i = 0; i + 1 < before.size(); ++i) {
      const Pair old = make_pair(before[i], before[i + 1]);
      if (old != pair) change(old, -word.count, w);
    }
    for (std::size_t i = 0; i + 1 < length; ++i) {
      const Pair now = make_pair(ids[i], ids[i + 1]);
      if (now != pair) change(now, word.count, w);
    }
  }

  void queue_changed() {
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Pair pair : changed_) {
      if (const std::int64_t count = pairs_[pair].count; count > 0) queue_.push({count, pair});
    }
    changed_.clear();
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, State> pairs_;
  std::vector<Pair> changed_;
  std::priority_queue<Queued> queue_;
};

/// The tokens of the 256 bytes, in the order of their symbols; ids count from `first`.
std::vector<std::string> byte_tokens(std::int32_t first, std::int32_t (&ids)[256]) {
  std::vector<std::pair<char32_t, int>> order;
  for (int b = 0; b < 256; ++b) order.emplace_back(byte_to_symbol(static_cast<std::uint8_t>(b)), b);
  std::sort(order.begin(), order.end());
  std::vector<std::string> tokens;
  for (const auto& [symbol, byte] : order) {
    ids[byte] = first + static_cast<std::int32_t>(tokens.size());
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  return tokens;
}

}  // namespace

BpeTrainer::BpeTrainer() : pre_tokenizer_(default_pre_tokenizer()) {}

void BpeTrainer::add(std::string_view text) {
  if (const std::size_t offset = find_invalid_utf8(text); offset != std::string_view::npos) {
    throw TokenizerError("text is not valid UTF-8 at byte " + std::to_string(offset));
  }
  for (const std::string_view view : pre_tokenizer_.split(text).views) {
    word_.assign(view);
    ++word_counts_[word_];
  }
}

TrainedTokenizer BpeTrainer::train(std::int32_t vocabulary_size) const {
  TrainedTokenizer trained;
  trained.special_tokens = default_special_tokens();
  const auto n_special = static_cast<std::int32_t>(trained.special_tokens.size());
  if (vocabulary_size < n_special + 256) {
    throw TokenizerError("vocab_size " + std::to_string(vocabulary_size) + " has no room for " +
                         std::to_string(n_special) + " special tokens and 256 bytes: at least " +
                         std::to_string(n_special + 256) + " is wanted");
  }
  std::int32_t byte_ids[256];
  trained.tokens = byte_tokens(n_special, byte_ids);

  std::vector<Word> words;
  for (const auto& [text, count] : word_counts_) {
    Word& word = words.emplace_back(Word{{}, static_cast<std::int64_t>(count)});
    for (const char c : text) word.ids.push_back(byte_ids[static_cast<std::uint8_t>(c)]);
  }
  PairCounts counts(std::move(words));
  while (n_special + static_cast<std::int32_t>(trained.tokens.size()) < vocabulary_size) {
    const auto [count, pair] = counts.best();
    if (count == 0) break;
    const std::string left = trained.tokens[(pair >> 32) - n_special];
    const std::string right = trained.tokens[(pair & 0xFFFFFFFF) - n_special];
    // Its bytes are new: wherever they stand between the same two token ends, the merges so far
    // have cut them alike, so no other pair can have made them.
    counts.merge(pair, n_special + static_cast<std::int32_t>(trained.tokens.size()));
    trained.tokens.push_back(left + right);
    trained.merges.emplace_back(left, right);
  }
  return trained;
}

}  // namespace troupe::runtime
