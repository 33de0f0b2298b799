// What one rank did in one step: its list of operations with the times that its lane saw, and what it waited for
// between them.
#pragma once

#include <cstdint>
#include <vector>

#include "config/schedule/schedule.h"

namespace troupe::runtime {

/// Times are nanoseconds of the host's steady clock.
struct TracedOperation {
  config::Operation operation;
  int from_process = -1;  ///< that sends what it needs; -1: it needs no message
  int64_t ready_ns = 0;   ///< its message was there; no earlier than the list began
  int64_t begin_ns = 0;   ///< its lane came to it; 0: not yet
  int64_t end_ns = 0;     ///< what it makes was there in the lane; 0: not yet

  bool operator==(const TracedOperation&) const = default;
};

struct TracedList {
  int64_t step = 0;
  int worker = 0;  ///< data worker
  int rank = 0;    ///< of its pipeline
  int64_t begin_ns = 0;
  int64_t end_ns = 0;  ///< everything that it asked others for has been answered; 0: not yet
  std::vector<TracedOperation> operations;  ///< in the list's order

  /// It and all its operations have ended.
  bool is_complete() const;
  bool operator==(const TracedList&) const = default;
};

/// A part of a list's time in which its lane has no operation.
struct Pause {
  enum class For {
    other_process,  ///< a message that another process sends: nothing hides that it is not there
    same_process,   ///< a message of this process
    nothing         ///< its lane's turn, or the end of the step
  };
  For waits_for;
  int64_t begin_ns;
  int64_t end_ns;
  int operation = -1;  ///< whose message, by its place in the list
  bool operator==(const Pause&) const = default;
};
const char* to_string(Pause::For reason);

/// Operations that are played at once: one, or two side by side.
struct PlayedTurn {
  int first;  ///< by its place in the list
  int count;
  int64_t begin_ns;  ///< of the one that begins first
  int64_t end_ns;    ///< of the one that ends last
};
std::vector<PlayedTurn> turns_of(const TracedList& list);

/// Between the turns of a complete list, from its begin to its end, in order and without overlaps. Where two
/// operations begin side by side, the message that comes last counts.
std::vector<Pause> pauses_of(const TracedList& list, int own_process);

/// What is wrong with a list, as "found X, wanted Y" says it; empty: nothing is. Operations and the list must have
/// ended no earlier than they began, turns must not overlap, and what is to be beside the next has a next.
config::Objection objection_to(const TracedList& list);

}  // namespace troupe::runtime
