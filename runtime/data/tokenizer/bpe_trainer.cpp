#include "runtime/data/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <utility>
#include <vector>

#include "runtime/data/error.h"
#include "runtime/data/tokenizer/byte_level.h"
#include "runtime/data/tokenizer/pair_table.h"
#include "runtime/data/tokenizer/tokenizer_defaults.h"
#include "runtime/data/tokenizer/utf8.h"

namespace troupe::runtime {
namespace {

/// The words' tokens lie side by side in one list; a word only ever gets shorter.
struct Word {
  std::size_t begin, size;
  std::int64_t count;
};

/// A pair by its count at the time it was queued: the best first.
struct Queued {
  std::int64_t count;
  TokenPair pair;
  bool operator<(const Queued& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

/// Counts of all pairs, kept up to date while words change.
class PairCounts {
 public:
  PairCounts(std::vector<Word> words, std::vector<std::int32_t> ids)
      : words_(std::move(words)), ids_(std::move(ids)) {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      const std::int32_t* tokens = ids_.data() + words_[w].begin;
      for (std::size_t i = 0; i + 1 < words_[w].size; ++i) {
        add(token_pair(tokens[i], tokens[i + 1]), w);
      }
    }
    queue_changed();
  }

  /// The pair with the highest count, or a count of 0 if none is left.
  Queued best() {
    while (!queue_.empty()) {
      const Queued top = queue_.top();
      queue_.pop();
      const std::int64_t count = states_[pairs_.find(top.pair)].count;
      if (count == top.count) return top;
      if (count > 0) queue_.push({count, top.pair});  // fewer than when it was queued
    }
    return {0, 0};
  }

  /// Replaces `pair` by `result` in all words.
  void merge(TokenPair pair, std::int32_t result) {
    State& state = states_[pairs_.find(pair)];
    std::vector<std::uint32_t> words = std::move(state.words);
    state = {.count = 0, .pair = pair, .is_changed = false, .words = {}};
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    for (const std::uint32_t w : words) merge_in(w, pair, result);
    queue_changed();
  }

 private:
  struct State {
    std::int64_t count;
    TokenPair pair;
    bool is_changed;                   // it is in changed_
    std::vector<std::uint32_t> words;  // where it occurs, or once did
  };

  void add(TokenPair pair, std::size_t word) {
    const std::uint32_t number = pairs_.add(pair);
    if (number == states_.size()) states_.push_back({0, pair, false, {}});
    State& state = states_[number];
    state.count += words_[word].count;
    const auto index = static_cast<std::uint32_t>(word);
    if (state.words.empty() || state.words.back() != index) state.words.push_back(index);
    if (!state.is_changed) changed_.push_back(number);
    state.is_changed = true;
  }

  void take_away(TokenPair pair, std::size_t word) {
    states_[pairs_.find(pair)].count -= words_[word].count;
  }

  /// Counts change only beside the merged tokens.
  void merge_in(std::uint32_t w, TokenPair pair, std::int32_t result) {
    Word& word = words_[w];
    std::int32_t* const tokens = ids_.data() + word.begin;
    const auto is_here = [&](std::size_t i) {
      return i + 1 < word.size && token_pair(tokens[i], tokens[i + 1]) == pair;
    };
    const auto change = [&](TokenPair before, TokenPair after) {
      if (before != pair) take_away(before, w);
      add(after, w);
    };
    std::size_t length = 0;
    for (std::size_t i = 0; i < word.size; ++length) {
      if (!is_here(i)) {
        tokens[length] = tokens[i++];
        continue;
      }
      const auto left = static_cast<std::int32_t>(pair >> 32);
      const auto right = static_cast<std::int32_t>(pair & 0xFFFFFFFF);
      if (length > 0) {
        const std::int32_t previous = tokens[length - 1];
        change(token_pair(previous == result ? right : previous, left),
               token_pair(previous, result));
      }
      i += 2;
      if (i < word.size && !is_here(i)) {
        change(token_pair(right, tokens[i]), token_pair(result, tokens[i]));
      }
      tokens[length] = result;
    }
    word.size = length;
  }

  void queue_changed() {
    for (const std::uint32_t number : changed_) {
      State& state = states_[number];
      state.is_changed = false;
      if (state.count > 0) queue_.push({state.count, state.pair});
    }
    changed_.clear();
  }

  std::vector<Word> words_;
  std::vector<std::int32_t> ids_;
  PairTable pairs_;
  std::vector<State> states_;  // by the pair's number
  std::vector<std::uint32_t> changed_;
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
    const std::uint32_t number = words_.add(view);
    if (number == counts_.size()) counts_.push_back(0);
    ++counts_[number];
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
  std::vector<std::int32_t> ids;
  for (std::uint32_t i = 0; i < words_.size(); ++i) {
    const std::string_view text = words_.word(i);
    words.push_back({ids.size(), text.size(), static_cast<std::int64_t>(counts_[i])});
    for (const char c : text) ids.push_back(byte_ids[static_cast<std::uint8_t>(c)]);
  }
  PairCounts counts(std::move(words), std::move(ids));
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
