#include "runtime/telemetry/cell_look.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace troupe::runtime {
namespace {

/// A busy actor may write whenever we look.
constexpr int most_looks = 16;

struct Range {
  size_t begin, bytes;
};

/// What a sequence number guards.
struct Group {
  uint64_t (*turn)(const CellSlot&);
  Range range;
};

uint64_t get(const Word& word) { return word.load(std::memory_order_relaxed); }
uint64_t get(const HalfWord& word) { return word.load(std::memory_order_relaxed); }

// In a copy all zeros stand for none: no message, no wait, no text.
constexpr Group groups[] = {
    {[](const CellSlot& s) { return get(s.turn); },
     {offsetof(CellSlot, began), offsetof(CellSlot, step) - offsetof(CellSlot, began)}},
    {[](const CellSlot& s) { return get(s.wait_turn); },
     {offsetof(CellSlot, wait_since),
      offsetof(CellSlot, error_turn) - offsetof(CellSlot, wait_since)}},
    {[](const CellSlot& s) { return get(s.error_turn); }, {offsetof(CellSlot, error), error_bytes}},
    {[](const CellSlot& s) { return get(s.end_turn); },
     {offsetof(CellSlot, end_reason), end_reason_bytes}}};
constexpr size_t group_count = std::size(groups);

char* at(CellSlot& slot, const Range& range) {
  return reinterpret_cast<char*>(&slot) + range.begin;
}

/// Whether a number was even and the same at three looks one behind the other: then what it guards
/// is of one moment in the middle one.
bool is_steady(uint64_t a, uint64_t b, uint64_t c) { return a == b && b == c && a % 2 == 0; }

/// Keeps the groups that were steady; false: the cell changed hands meanwhile.
bool settle(CellSlot (&looks)[3], CellSlot& kept, bool (&is_settled)[group_count]) {
  if (!is_steady(get(looks[0].life), get(looks[1].life), get(looks[2].life))) return false;
  for (size_t i = 0; i < group_count; ++i) {
    const Group& group = groups[i];
    if (is_settled[i] ||
        !is_steady(group.turn(looks[0]), group.turn(looks[1]), group.turn(looks[2]))) {
      continue;
    }
    std::memcpy(at(kept, group.range), at(looks[1], group.range), group.range.bytes);
    is_settled[i] = true;
  }
  return true;
}

}  // namespace

bool look_at_cell(const ReadBytes& read, size_t index, CellSlot& slot) {
  const uint64_t offset = sizeof(FileHeader) + index * sizeof(CellSlot);
  CellSlot looks[3], kept;
  uint64_t life = 1;
  bool is_settled[group_count] = {}, is_all = false;
  for (int i = 0; i < most_looks && !is_all; ++i) {
    for (CellSlot& look : looks) {
      if (!read(offset, &look, sizeof look)) return false;
    }
    if (i == 0 || get(looks[1].life) != life) {
      life = get(looks[1].life);
      std::fill(std::begin(is_settled), std::end(is_settled), false);
    }
    is_all = settle(looks, kept, is_settled) &&
             std::all_of(std::begin(is_settled), std::end(is_settled), [](bool b) { return b; });
  }
  std::memcpy(static_cast<void*>(&slot), &looks[1], sizeof slot);
  if (!is_steady(get(looks[0].life), get(looks[1].life), get(looks[2].life))) slot.life |= 1;
  for (size_t i = 0; i < group_count; ++i) {
    if (is_settled[i]) {
      std::memcpy(at(slot, groups[i].range), at(kept, groups[i].range), groups[i].range.bytes);
    } else {
      std::memset(at(slot, groups[i].range), 0, groups[i].range.bytes);
    }
  }
  return true;
}

}  // namespace troupe::runtime
