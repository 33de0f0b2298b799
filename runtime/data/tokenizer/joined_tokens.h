#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/data/tokenizer/tokenizer.h"

namespace troupe::runtime {

/// The tokens of a vocabulary that join marks and a line break, as ".\n" does, with the tokens they
/// are taken apart into: the ids of the text before the first line break (CR or LF), then of the
/// rest. A mark is a character of Unicode's categories P and S, as in the pattern that makes such
/// words. A token that is not whole characters, or a special one, is left alone.
/// Source: DeepSeek-V3 report, arXiv:2412.19437, section 4.1.
class JoinedTokens {
 public:
  JoinedTokens() = default;
  explicit JoinedTokens(const Tokenizer& tokenizer);

  /// The ids to write instead of `id`; empty if it joins nothing.
  std::span<const std::int32_t> parts(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    if (id < 0 || i + 1 >= begins_.size()) return {};
    return std::span(parts_).subspan(begins_[i], begins_[i + 1] - begins_[i]);
  }

 private:
  std::vector<std::uint32_t> begins_;  // into parts_, by id; one more than there are ids
  std::vector<std::int32_t> parts_;
};

}  // namespace troupe::runtime
