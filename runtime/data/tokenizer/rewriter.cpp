#include "runtime/data/tokenizer/rewriter.h"

#include <algorithm>
#include <array>
#include <string>

#include "kernels/random.h"
#include "runtime/data/error.h"

namespace troupe::runtime {
namespace {

constexpr std::uint64_t fim_tokens = 3;  // begin, hole, end

/// What is drawn for a document in a pass.
enum FimDraw : std::uint64_t { chosen, first_cut, second_cut, fim_draws };

kernels::RandomKey fim_key(std::uint64_t seed, std::uint32_t document, std::uint64_t pass,
                           FimDraw draw) {
  return {.seed = seed,
          .purpose = kernels::Purpose::fill_in_the_middle,
          .stream = document,
          .position = pass * fim_draws + draw};
}

void check_rate(const char* name, double rate) {
  if (rate >= 0 && rate <= 1) return;  // false for NaN too
  throw DataError(std::string(name) + " is " + std::to_string(rate) + "; 0 to 1 is wanted");
}

}  // namespace

Rewriter::Rewriter(Args args) : args_(args) {
  check_rate("fim_rate", args_.fim_rate);
  check_rate("split_joined_rate", args_.split_joined_rate);
  const SpecialTokens& special = args_.corpus.special();
  if (args_.fim_rate > 0 &&
      (special.fim_begin < 0 || special.fim_hole < 0 || special.fim_end < 0)) {
    throw DataError(
        "fim_rate is " + std::to_string(args_.fim_rate) +
        "; it needs a tokenizer with <｜fim▁begin｜>, <｜fim▁hole｜> and <｜fim▁end｜>");
  }
}

template <class Visit>
void Rewriter::visit_tokens(std::uint32_t document, std::uint64_t pass, Visit visit) const {
  const std::uint64_t count = args_.corpus.document_tokens(document);
  std::array<std::int32_t, 1024> buffer;
  for (std::uint64_t first = 0; first < count; first += buffer.size()) {
    const auto ids = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), count - first));
    args_.corpus.read(document, first, ids);
    for (std::uint64_t i = 0; i < ids.size(); ++i) {
      std::span<const std::int32_t> parts = args_.corpus.joined().parts(ids[i]);
      if (!parts.empty()) {
        // The token's number if the passes over the document stood one behind the other.
        const kernels::RandomKey key{.seed = args_.seed,
                                     .purpose = kernels::Purpose::split_joined,
                                     .stream = document,
                                     .position = pass * count + first + i};
        if (kernels::random_uniform(key) >= args_.split_joined_rate) parts = {};
      }
      visit(ids[i], parts);
    }
  }
}

bool Rewriter::is_rearranged(std::uint32_t document, std::uint64_t pass) const {
  return args_.fim_rate > 0 && args_.corpus.is_running_text(document) &&
         args_.corpus.document_tokens(document) >= least_fim_tokens &&
         kernels::random_uniform(fim_key(args_.seed, document, pass, chosen)) < args_.fim_rate;
}

std::uint64_t Rewriter::tokens(std::uint32_t document, std::uint64_t pass) const {
  std::uint64_t count = args_.corpus.document_tokens(document);
  if (is_rearranged(document, pass)) count += fim_tokens;
  if (args_.split_joined_rate > 0) {
    visit_tokens(document, pass, [&](std::int32_t, std::span<const std::int32_t> parts) {
      if (!parts.empty()) count += parts.size() - 1;
    });
  }
  return count;
}

void Rewriter::read(std::uint32_t document, std::uint64_t pass, std::uint64_t first,
                    std::span<std::int32_t> tokens) const {
  if (args_.split_joined_rate == 0 && !is_rearranged(document, pass)) {
    args_.corpus.read(document, first, tokens);
    return;
  }
  const auto whole = written(document, pass);
  if (first > whole->tokens.size() || tokens.size() > whole->tokens.size() - first) {
    throw DataError("document " + std::to_string(document) + " has " +
                    std::to_string(whole->tokens.size()) + " tokens in pass " +
                    std::to_string(pass) + "; wanted " + std::to_string(tokens.size()) + " from " +
                    std::to_string(first));
  }
  std::copy_n(whole->tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.size(),
              tokens.begin());
}

std::shared_ptr<const Rewriter::Written> Rewriter::written(std::uint32_t document,
                                                           std::uint64_t pass) const {
  {
    const std::lock_guard lock(mutex_);
    if (last_ && last_->document == document && last_->pass == pass) return last_;
  }
  auto made = std::make_shared<Written>(Written{document, pass, {}});
  made->tokens.reserve(args_.corpus.document_tokens(document) + fim_tokens);
  visit_tokens(document, pass, [&](std::int32_t id, std::span<const std::int32_t> parts) {
    if (parts.empty()) {
      made->tokens.push_back(id);
    } else {
      made->tokens.insert(made->tokens.end(), parts.begin(), parts.end());
    }
  });
  if (is_rearranged(document, pass)) rearrange(*made);
  const std::lock_guard lock(mutex_);
  last_ = made;
  return made;
}

void Rewriter::rearrange(Written& written) const {
  const std::vector<std::int32_t> text = std::move(written.tokens);
  const auto draw = [&](FimDraw which, std::uint64_t n) {
    return kernels::random_below(fim_key(args_.seed, written.document, written.pass, which), n);
  };
  // Two different places of the size - 1 between two tokens.
  std::uint64_t first = 1 + draw(first_cut, text.size() - 1);
  std::uint64_t second = 1 + draw(second_cut, text.size() - 2);
  if (second >= first) ++second;
  if (second < first) std::swap(first, second);

  const SpecialTokens& special = args_.corpus.special();
  const auto append = [&](std::int32_t mark, std::uint64_t begin, std::uint64_t end) {
    written.tokens.push_back(mark);
    written.tokens.insert(written.tokens.end(), text.begin() + static_cast<std::ptrdiff_t>(begin),
                          text.begin() + static_cast<std::ptrdiff_t>(end));
  };
  written.tokens.clear();
  written.tokens.reserve(text.size() + fim_tokens);
  append(special.fim_begin, 0, first);
  append(special.fim_hole, second, text.size());
  append(special.fim_end, first, second);
}

}  // namespace troupe::runtime
