// What goes from whom to whom when a run goes on with other processes: pure functions of who holds what
// and of the new placement. Nothing here changes a bit of the result.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "actors/placement/placement.h"

namespace troupe::actors {

/// What one process sends another. Blocks ascend.
struct Move {
  int from, to;
  std::vector<int64_t> whole;    ///< weights, moments and EMA
  std::vector<int64_t> weights;  ///< these alone, for who computes with them
  std::vector<int64_t> rest;     ///< moments and EMA, for who has the weights already
};

/// What a process held when the run stopped: the share of one process of a placement, and, where a change did
/// not come to its end, that of one of the placement before it.
struct Holder {
  const Placement* placement;  ///< null: it holds nothing
  int process;
  std::vector<Holder> also = {};

  Share share(int64_t block) const;
  bool owns(int64_t block) const;
};

struct Moves {
  std::vector<Move> moves;  ///< sorted by `from`, then `to`
  /// Counted for every process that is to have a block: those that it gets something of, those that it has.
  int64_t moved = 0, stayed = 0;
  int64_t moved_bytes = 0;
  /// Of these nobody has all: the run cannot go on with what its processes hold.
  std::vector<int64_t> lost;

  const Move* find(int from, int to) const;
};

/// `holders`: by process of `after`, and behind those whoever leaves, which gets nothing. A block comes from
/// its owner if that is there, else from the buddy, else (weights) from another that computes with it. What a
/// process has does not move.
Moves make_moves(std::span<const Holder> holders, const Placement& after,
                 const runtime::StateArena& arena);

/// Which process of `after` each holder is to be, so that few bytes move; the first stays the first. Not
/// more holders than processes; those without any get what is left.
std::vector<int> choose_processes(std::span<const Holder> holders, const Placement& after,
                                  const runtime::StateArena& arena);

}  // namespace troupe::actors
