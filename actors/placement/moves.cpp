#include "actors/placement/moves.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

namespace troupe::actors {
namespace {

struct BlockBytes {
  int64_t weights, rest;
};

BlockBytes bytes_of(const runtime::StateArena& arena, int64_t block) {
  const int64_t count = arena.blocks()[static_cast<size_t>(block)].count;
  const int64_t all = runtime::stored_bytes_per_parameter(arena.format());
  return {4 * count, (all - 4) * count};
}

int64_t bytes_to_move(const BlockBytes& bytes, Share has, Share needs) {
  int64_t moves = 0;
  if (needs != Share::none && has == Share::none) moves += bytes.weights;
  if (needs == Share::whole && has != Share::whole) moves += bytes.rest;
  return moves;
}

/// 0: its owner, 1: the buddy, 2: another.
int rank_of(const Holder& holder, int64_t block) {
  if (holder.owns(block)) return 0;
  return holder.share(block) == Share::whole ? 1 : 2;
}

/// Who sends a block; -1: nobody can.
int sender_of(std::span<const Holder> holders, int64_t block, Share least) {
  int best = -1, best_rank = 3;
  for (size_t i = 0; i < holders.size(); ++i) {
    if (holders[i].share(block) < least) continue;
    const int rank = rank_of(holders[i], block);
    if (rank < best_rank) std::tie(best, best_rank) = std::pair(static_cast<int>(i), rank);
  }
  return best;
}

}  // namespace

Share Holder::share(int64_t block) const {
  Share most = placement ? placement->share(process, block) : Share::none;
  for (const Holder& other : also) most = std::max(most, other.share(block));
  return most;
}

bool Holder::owns(int64_t block) const {
  const bool is_owner = placement && placement->process_of_shard(placement->owner(block)) == process;
  return is_owner || std::any_of(also.begin(), also.end(), [&](const Holder& other) { return other.owns(block); });
}

const Move* Moves::find(int from, int to) const {
  const auto found = std::find_if(moves.begin(), moves.end(), [&](const Move& move) {
    return move.from == from && move.to == to;
  });
  return found == moves.end() ? nullptr : &*found;
}

Moves make_moves(std::span<const Holder> holders, const Placement& after,
                 const runtime::StateArena& arena) {
  Moves out;
  std::map<std::pair<int, int>, Move> by_pair;
  const auto count = static_cast<int64_t>(arena.blocks().size());
  for (int64_t block = 0; block < count; ++block) {
    const BlockBytes bytes = bytes_of(arena, block);
    const int whole = sender_of(holders, block, Share::whole);
    const int weights = sender_of(holders, block, Share::weights);
    if (whole < 0) {
      out.lost.push_back(block);
      continue;
    }
    for (int process = 0; process < after.processes(); ++process) {
      const Share needs = after.share(process, block);
      const Share has = holders[static_cast<size_t>(process)].share(block);
      if (needs == Share::none) continue;
      if (has >= needs) {
        ++out.stayed;
        continue;
      }
      ++out.moved;
      out.moved_bytes += bytes_to_move(bytes, has, needs);
      const int from = needs == Share::whole ? whole : weights;
      Move& move = by_pair[{from, process}];
      (needs == Share::weights ? move.weights : has == Share::none ? move.whole : move.rest)
          .push_back(block);
    }
  }
  for (auto& [pair, move] : by_pair) {
    std::tie(move.from, move.to) = pair;
    out.moves.push_back(std::move(move));
  }
  return out;
}

std::vector<int> choose_processes(std::span<const Holder> holders, const Placement& after,
                                  const runtime::StateArena& arena) {
  const auto n = static_cast<size_t>(after.processes());
  std::vector<Holder> all(holders.begin(), holders.end());
  all.resize(n, Holder{nullptr, 0});
  std::vector<std::vector<int64_t>> gets(n, std::vector<int64_t>(n, 0));  // bytes: each of them as each
  for (size_t i = 0; i < n; ++i) {
    for (size_t block = 0; block < arena.blocks().size(); ++block) {
      const auto id = static_cast<int64_t>(block);
      const BlockBytes bytes = bytes_of(arena, id);
      const Share has = all[i].share(id);
      for (size_t process = 0; process < n; ++process) {
        gets[i][process] += bytes_to_move(bytes, has, after.share(static_cast<int>(process), id));
      }
    }
  }
  std::vector<size_t> chosen(n);
  std::iota(chosen.begin(), chosen.end(), size_t{0});
  for (bool has_changed = true; has_changed;) {  // each swap moves fewer bytes than before
    has_changed = false;
    for (size_t i = 1; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) {
        const int64_t now = gets[i][chosen[i]] + gets[j][chosen[j]];
        if (gets[i][chosen[j]] + gets[j][chosen[i]] >= now) continue;
        std::swap(chosen[i], chosen[j]);
        has_changed = true;
      }
    }
  }
  return {chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(holders.size())};
}

}  // namespace troupe::actors
