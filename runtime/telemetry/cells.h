// Glass law: every actor has a cell in memory that other processes can read. What it does and since
// when is there to see without its help, also when it is stuck, stopped or dead.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "runtime/telemetry/cell_layout.h"

namespace troupe::runtime {

/// What a message, or what somebody waits for, is called: a number of Glass::kind.
enum class MessageKind : uint16_t { none = 0, other = 1 };

enum class CellState : uint32_t { starting, idle, running, waiting, stopping, dead };

/// The unit of work (unit law) that a message belongs to. Layer -1: none.
struct UnitTag {
  uint32_t step = 0;
  uint16_t micro_batch = 0;
  int16_t layer = -1;
};

struct CellIdentity {
  std::string_view role;    ///< "expert_shard"
  std::string_view name;    ///< "expert_shard/0.0.1", unique among the living
  std::string_view parent;  ///< its supervisor's name; empty: it stands at the top
  uint64_t incarnation;     ///< counts the lives of this name from 1
  uint32_t restarts;
};

/// What one life of an actor writes. No call locks, allocates or fails. `begin`, `end`,
/// `resumes`, `rests`, `waiting_for`, `waits_no_more` and `set_step` are called by one thread at a time, as a mailbox
/// sees to; everything else by any, also after the life has ended.
class Cell {
 public:
  explicit Cell(CellSlot& slot) : slot_(&slot) {}
  Cell(const Cell&) = delete;
  Cell& operator=(const Cell&) = delete;

  /// A message went into the mailbox. Each one is to be followed by its begin and end: what has
  /// arrived and not begun is the mailbox.
  void arrived();
  void begin(MessageKind what, UnitTag unit = {});
  void end();
  /// A thread has the actor, and has it no more: around everything, answers to it included. Another
  /// thread may have it already when this one says so.
  uint64_t resumes();
  void rests(uint64_t resumed);

  /// `detail`: what helps to find the culprit, such as the number of answers that are missing.
  void waiting_for(MessageKind what, uint64_t detail = 0);
  void waits_no_more();

  void set_step(uint64_t step);
  /// `running` and `waiting` follow from the calls above while the state is `starting` or `idle`.
  void set_state(CellState state);
  void add_bytes(uint64_t bytes);
  /// Messages that a credit limit holds back, more or fewer.
  void parked(int64_t delta);

  /// Keeps the beginning of `text` as the last error.
  void failed(std::string_view text);
  /// The life is over; what the cell says stays readable until it is needed for another.
  void ended(std::string_view reason);

 private:
  friend class Glass;
  CellSlot& slot() { return *slot_.load(std::memory_order_relaxed); }

  std::atomic<CellSlot*> slot_;  // of plain memory once another life has the cell
};

/// A message's begin and end, whatever ends the handler.
class CellTurn {
 public:
  CellTurn(Cell& cell, MessageKind what, UnitTag unit = {}) : cell_(cell) {
    cell_.begin(what, unit);
  }
  ~CellTurn() { cell_.end(); }
  CellTurn(const CellTurn&) = delete;
  CellTurn& operator=(const CellTurn&) = delete;

 private:
  Cell& cell_;
};

/// Owns the cells of a process. Thread-safe.
class Glass {
 public:
  /// Makes the file `troupe-<uid>-<pid>` in /dev/shm, or else $TMPDIR or /tmp, all of its space
  /// reserved. Where none of them takes it cells are in plain memory and note() says why: nobody
  /// sees them from outside, and everything else works. Files that dead processes left are removed:
  /// those of the same run folder, and those older than a day.
  static std::unique_ptr<Glass> create(const std::string& run_folder);
  /// Removes the file.
  ~Glass();
  Glass(const Glass&) = delete;
  Glass& operator=(const Glass&) = delete;

  /// A cell for a life that begins, in state `starting`. If none is free the one of the longest
  /// dead is taken; if nobody is dead, one in plain memory. The cell lives as long as the glass.
  Cell* hire(const CellIdentity& identity);

  /// The number of a name of at most 31 bytes, which is given one if it has none. After 510 names,
  /// MessageKind::other.
  MessageKind kind(std::string_view name);

  /// Copies bytes of the cells as a file of them has them; false: there are not that many. For this
  /// process's own looks (cell_reader.h), also where there is no file.
  bool read(uint64_t offset, void* to, size_t bytes) const;
  /// Empty: there is no file.
  const std::string& path() const;
  /// What the user should know; empty: nothing.
  const std::string& note() const;

 private:
  struct State;
  explicit Glass(std::unique_ptr<State> state);

  const std::unique_ptr<State> state_;
};

}  // namespace troupe::runtime

#include "runtime/telemetry/cells.inl"
