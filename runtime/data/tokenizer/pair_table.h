#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe::runtime {

/// Two tokens side by side, the left one in the upper half: pairs compare as (left, right).
using TokenPair = std::uint64_t;

inline TokenPair token_pair(std::int32_t left, std::int32_t right) {
  return (static_cast<TokenPair>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

/// Distinct pairs, numbered from 0 in the order in which they came.
class PairTable {
 public:
  static constexpr std::uint32_t none = 0xFFFFFFFF;

  std::uint32_t size() const { return size_; }

  /// The number of `pair`, or none.
  std::uint32_t find(TokenPair pair) const {
    return slots_.empty() ? none : slots_[slot_of(pair)].number;
  }

  /// The number of `pair`, which is size() before the call if it is new.
  std::uint32_t add(TokenPair pair) {
    if (2 * std::size_t{size_} >= slots_.size()) grow();
    Slot& slot = slots_[slot_of(pair)];
    if (slot.number == none) slot = {pair, size_++};
    return slot.number;
  }

 private:
  struct Slot {
    TokenPair pair;
    std::uint32_t number;  // none: the slot is empty
  };

  /// The slot of `pair`, or the empty one where it belongs.
  std::size_t slot_of(TokenPair pair) const {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t hash = pair * 0x9E3779B97F4A7C15;  // 2^64 by the golden ratio
    hash ^= hash >> 32;
    std::size_t slot = hash & mask;
    while (slots_[slot].number != none && slots_[slot].pair != pair) slot = (slot + 1) & mask;
    return slot;
  }

  void grow() {
    std::vector<Slot> before(std::max<std::size_t>(1 << 10, 2 * slots_.size()), Slot{0, none});
    before.swap(slots_);
    for (const Slot& slot : before) {
      if (slot.number != none) slots_[slot_of(slot.pair)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  std::uint32_t size_ = 0;
};

}  // namespace troupe::runtime
