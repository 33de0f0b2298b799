#include "runtime/data/document_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

/// Where passes differ in length, finding a place walks over all passes before it.
constexpr std::uint64_t most_passes = std::uint64_t{1} << 20;

}  // namespace

/// The documents of one pass in their order, and where in the pass each one ends.
struct DocumentStream::Pass {
  std::uint64_t number;
  std::vector<std::uint32_t> documents;
  std::vector<std::uint64_t> ends;
};

DocumentStream::DocumentStream(Args args)
    : args_(std::move(args)),
      bos_(args_.corpus.special().bos >= 0),
      eos_(args_.corpus.special().eos >= 0) {
  if (bos_ + eos_ == 0) {
    throw DataError("the tokenizer has neither bos nor eos; one is wanted between documents");
  }
  for (const std::uint32_t document : args_.documents) {
    least_per_pass_ += bos_ + args_.corpus.document_tokens(document) + eos_;
  }
  if (least_per_pass_ == 0) throw DataError("there are no documents to train on");
}

DocumentStream::~DocumentStream() = default;

std::uint64_t DocumentStream::stream_tokens(std::uint32_t document, std::uint64_t pass) const {
  return bos_ + args_.rewriter.tokens(document, pass) + eos_;
}

std::shared_ptr<const DocumentStream::Pass> DocumentStream::pass(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  auto& slot = passes_[number % 2];
  if (slot && slot->number == number) return slot;
  // Sorted by (random key, document): a total order.
  std::vector<std::pair<std::uint64_t, std::uint32_t>> keys;
  for (const std::uint32_t document : args_.documents) {
    keys.emplace_back(kernels::random_bits({.seed = args_.seed,
                                            .purpose = kernels::Purpose::shuffle,
                                            .stream = document,
                                            .position = number}),
                      document);
  }
  std::sort(keys.begin(), keys.end());
  auto made = std::make_shared<Pass>(Pass{number, {}, {}});
  std::uint64_t end = 0;
  for (const auto& [key, document] : keys) {
    end += stream_tokens(document, number);
    made->documents.push_back(document);
    made->ends.push_back(end);
  }
  slot = made;
  return made;
}

std::uint64_t DocumentStream::tokens_of_pass(std::uint64_t number) {
  return args_.rewriter.is_constant() ? least_per_pass_ : pass(number)->ends.back();
}

DocumentStream::Place DocumentStream::place_of(std::uint64_t position) {
  if (args_.rewriter.is_constant()) {
    return {position / least_per_pass_, position % least_per_pass_};
  }
  if (position / least_per_pass_ > most_passes) {
    throw DataError("token " + std::to_string(position) + " is beyond 2^20 passes of " +
                    std::to_string(least_per_pass_) + " tokens");
  }
  const std::lock_guard lock(begins_mutex_);
  while (begins_.back() <= position) {
    begins_.push_back(begins_.back() + tokens_of_pass(begins_.size() - 1));
  }
  const auto behind = std::upper_bound(begins_.begin(), begins_.end(), position);
  return {static_cast<std::uint64_t>(behind - begins_.begin()) - 1, position - behind[-1]};
}

void DocumentStream::read(std::uint64_t begin, std::span<std::int32_t> tokens) {
  auto [number, offset] = place_of(begin);
  for (; !tokens.empty(); ++number, offset = 0) {
    const auto current = pass(number);
    const auto& ends = current->ends;
    auto i =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), offset) - ends.begin());
    for (; i < ends.size() && !tokens.empty(); ++i) {
      const std::uint64_t start = i == 0 ? 0 : ends[i - 1];
      const std::uint64_t count = std::min<std::uint64_t>(tokens.size(), ends[i] - offset);
      read_document({current->documents[i], number, ends[i] - start}, offset - start,
                    tokens.first(count));
      tokens = tokens.subspan(count);
      offset += count;
    }
  }
}

/// Tokens of bos, document, eos from `first` on.
void DocumentStream::read_document(const Entry& entry, std::uint64_t first,
                                   std::span<std::int32_t> tokens) const {
  if (first < bos_ && !tokens.empty()) {
    tokens.front() = args_.corpus.special().bos;
    tokens = tokens.subspan(1);
    ++first;
  }
  const std::uint64_t length = entry.tokens - bos_ - eos_;
  const std::uint64_t at = first - bos_;
  const std::uint64_t count = at < length ? std::min<std::uint64_t>(tokens.size(), length - at) : 0;
  if (count > 0) args_.rewriter.read(entry.document, entry.pass, at, tokens.first(count));
  if (count < tokens.size()) tokens[count] = args_.corpus.special().eos;
}

}  // namespace troupe::runtime
