#include "runtime/data/batch_sampler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {

/// The documents of one pass in their order, and where in the pass each one ends.
struct BatchSampler::Pass {
  std::uint64_t number;
  std::vector<std::uint32_t> documents;
  std::vector<std::uint64_t> ends;
};

BatchSampler::BatchSampler(Args args)
    : corpus_(args.corpus),
      seed_(args.seed),
      seq_len_(static_cast<std::uint64_t>(args.seq_len)),
      bos_(args.corpus.special().bos >= 0),
      eos_(args.corpus.special().eos >= 0) {
  if (args.seq_len < 1) {
    throw DataError("seq_len is " + std::to_string(args.seq_len) + "; 1 or more is wanted");
  }
  if (bos_ + eos_ == 0) {
    throw DataError("the tokenizer has neither bos nor eos; one is wanted between documents");
  }
  for (const std::uint32_t document : corpus_.training()) {
    tokens_per_pass_ += stream_tokens(document);
  }
  if (tokens_per_pass_ == 0) throw DataError("there are no documents to train on");
}

BatchSampler::~BatchSampler() = default;

std::uint64_t BatchSampler::stream_tokens(std::uint32_t document) const {
  return bos_ + corpus_.document_tokens(document) + eos_;
}

std::shared_ptr<const BatchSampler::Pass> BatchSampler::pass(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  auto& slot = passes_[number % 2];
  if (slot && slot->number == number) return slot;
  // Sorted by (random key, document): a total order.
  std::vector<std::pair<std::uint64_t, std::uint32_t>> keys;
  for (const std::uint32_t document : corpus_.training()) {
    keys.emplace_back(kernels::random_bits({.seed = seed_,
                                            .purpose = kernels::Purpose::shuffle,
                                            .stream = document,
                                            .position = number}),
                      document);
  }
  std::sort(keys.begin(), keys.end());
  auto made = std::make_shared<Pass>(Pass{number, {}, {}});
  std::uint64_t end = 0;
  for (const auto& [key, document] : keys) {
    end += stream_tokens(document);
    made->documents.push_back(document);
    made->ends.push_back(end);
  }
  slot = made;
  return made;
}

void BatchSampler::fill(std::uint64_t first, std::uint64_t count, std::span<std::int32_t> tokens) {
  const std::uint64_t row = seq_len_ + 1;
  if (count > tokens.size() || tokens.size() != count * row) {
    throw DataError("room for " + std::to_string(tokens.size()) + " tokens; wanted " +
                    std::to_string(count) + " sequences of " + std::to_string(row));
  }
  constexpr std::uint64_t most = std::uint64_t{1} << 62;
  if (first > most / row || count > most / row) {
    throw DataError("sequence " + std::to_string(first) + " is beyond 2^62 tokens");
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    read_stream((first + i) * seq_len_, tokens.subspan(i * row, row));
  }
}

void BatchSampler::read_stream(std::uint64_t begin, std::span<std::int32_t> tokens) {
  std::uint64_t number = begin / tokens_per_pass_;
  std::uint64_t offset = begin % tokens_per_pass_;
  while (!tokens.empty()) {
    const auto current = pass(number);
    const auto& ends = current->ends;
    auto i =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), offset) - ends.begin());
    for (; i < ends.size() && !tokens.empty(); ++i) {
      const std::uint64_t start = i == 0 ? 0 : ends[i - 1];
      const std::uint64_t count = std::min<std::uint64_t>(tokens.size(), ends[i] - offset);
      read_document(current->documents[i], offset - start, tokens.first(count));
      tokens = tokens.subspan(count);
      offset += count;
    }
    ++number;
    offset = 0;
  }
}

/// Tokens of bos, document, eos from `first` on.
void BatchSampler::read_document(std::uint32_t document, std::uint64_t first,
                                 std::span<std::int32_t> tokens) const {
  if (first < bos_ && !tokens.empty()) {
    tokens.front() = corpus_.special().bos;
    tokens = tokens.subspan(1);
    ++first;
  }
  const std::uint64_t length = corpus_.document_tokens(document);
  const std::uint64_t at = first - bos_;
  const std::uint64_t count = at < length ? std::min<std::uint64_t>(tokens.size(), length - at) : 0;
  if (count > 0) corpus_.read(document, at, tokens.first(count));
  if (count < tokens.size()) tokens[count] = corpus_.special().eos;
}

}  // namespace troupe::runtime
