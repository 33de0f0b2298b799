// What a cell does with every message. A load and a store stand where one thread at a time writes:
// a locked addition costs as much as all the rest.
#pragma once

#include <bit>

#include "runtime/telemetry/cell_clock.h"
#include "runtime/telemetry/cells.h"

namespace troupe::runtime {

inline void Cell::arrived() { slot().arrived.fetch_add(1, std::memory_order_relaxed); }

// Stores of what a turn guards are releases: none of them is seen before the odd turn is.
inline void Cell::begin(MessageKind what, UnitTag unit) {
  CellSlot& s = slot();
  const uint64_t turn = s.turn.load(std::memory_order_relaxed) | 1;
  s.turn.store(turn, std::memory_order_relaxed);
  s.kind.store(static_cast<uint64_t>(what), std::memory_order_release);
  s.unit.store(std::bit_cast<uint64_t>(unit), std::memory_order_release);
  s.began.store(cell_ticks(), std::memory_order_release);
  s.turn.store(turn + 1, std::memory_order_release);
}

inline void Cell::end() {
  CellSlot& s = slot();
  const uint64_t now = cell_ticks();
  const uint64_t began = s.began.load(std::memory_order_relaxed);
  const uint64_t turn = s.turn.load(std::memory_order_relaxed) | 1;
  s.turn.store(turn, std::memory_order_relaxed);
  s.began.store(0, std::memory_order_release);
  s.busy.store(s.busy.load(std::memory_order_relaxed) + (now > began ? now - began : 0),
               std::memory_order_release);
  s.handled.store(s.handled.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  s.turn.store(turn + 1, std::memory_order_release);
}

inline uint64_t Cell::resumes() {
  const uint64_t now = cell_ticks();
  slot().resumed.store(now, std::memory_order_release);
  return now;
}

inline void Cell::rests(uint64_t resumed) {
  slot().resumed.compare_exchange_strong(resumed, 0, std::memory_order_release,
                                         std::memory_order_relaxed);
}

inline void Cell::set_step(uint64_t step) { slot().step.store(step, std::memory_order_relaxed); }

inline void Cell::set_state(CellState state) {
  slot().state.store(static_cast<uint32_t>(state), std::memory_order_relaxed);
}

inline void Cell::add_bytes(uint64_t bytes) {
  slot().bytes.fetch_add(bytes, std::memory_order_relaxed);
}

inline void Cell::parked(int64_t delta) {
  slot().parked.fetch_add(static_cast<uint64_t>(delta), std::memory_order_relaxed);
}

inline void Cell::waiting_for(MessageKind what, uint64_t detail) {
  CellSlot& s = slot();
  const uint32_t turn = s.wait_turn.load(std::memory_order_relaxed) | 1;
  s.wait_turn.store(turn, std::memory_order_relaxed);
  s.wait_kind.store(static_cast<uint32_t>(what), std::memory_order_release);
  s.wait_detail.store(detail, std::memory_order_release);
  s.wait_since.store(cell_ticks(), std::memory_order_release);
  s.wait_turn.store(turn + 1, std::memory_order_release);
}

inline void Cell::waits_no_more() {
  // One word says it: what stands beside it is not looked at.
  slot().wait_since.store(0, std::memory_order_release);
}

}  // namespace troupe::runtime
