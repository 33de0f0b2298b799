#include "runtime/data/batch_sampler.h"

#include <string>

#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

std::vector<double> weights_of(const Corpus& corpus) {
  std::vector<double> weights;
  for (const Corpus::Source& source : corpus.sources()) weights.push_back(source.weight);
  return weights;
}

}  // namespace

BatchSampler::BatchSampler(Args args)
    : seq_len_(static_cast<std::uint64_t>(args.seq_len)),
      rewriter_({.corpus = args.corpus,
                 .seed = args.seed,
                 .fim_rate = args.fim_rate,
                 .split_joined_rate = args.split_joined_rate}),
      mixture_(weights_of(args.corpus)) {
  if (args.seq_len < 1) {
    throw DataError("seq_len is " + std::to_string(args.seq_len) + "; 1 or more is wanted");
  }
  for (const Corpus::Source& source : args.corpus.sources()) {
    streams_.push_back(
        std::make_unique<DocumentStream>(DocumentStream::Args{.corpus = args.corpus,
                                                              .rewriter = rewriter_,
                                                              .documents = source.training,
                                                              .seed = args.seed}));
  }
}

std::uint64_t BatchSampler::tokens_of_pass(std::uint32_t source, std::uint64_t pass) {
  return streams_.at(source)->tokens_of_pass(pass);
}

std::vector<std::uint64_t> BatchSampler::counts(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> counts(streams_.size());
  for (const Mixture::Draw& draw : mixture_.draws(first, count)) ++counts[draw.source];
  return counts;
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
  for (const auto& [source, index] : mixture_.draws(first, count)) {
    streams_[source]->read(index * seq_len_, tokens.first(row));
    tokens = tokens.subspan(row);
  }
}

}  // namespace troupe::runtime
