#include "actors/placement/mover.h"

#include <algorithm>

#include "kernels/buffer.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/proto/cluster.pb.h"

namespace troupe::actors {
namespace {

using runtime::ClusterError;
using Ids = google::protobuf::RepeatedField<int64_t>;

/// So many go in one parcel: receivers write the first while the next is on its way.
constexpr int blocks_a_parcel = 16;

size_t blocks_of(const Move& move) {
  return move.whole.size() + move.weights.size() + move.rest.size();
}

int blocks_of(const wire::BlockLetter& letter) {
  return letter.whole_size() + letter.weights_size() + letter.rest_size();
}

/// Memory of the arena, which outlives the plane.
runtime::TensorRef in_arena(const kernels::Tensor& tensor) { return {tensor, nullptr}; }

using Parts = std::vector<kernels::Tensor>;

/// Parts of the block that travel: [0] are the weights.
Parts parts_of(runtime::StateArena& arena, int64_t id, uint64_t state, bool has_weights, bool has_rest) {
  const auto all = arena.block(id, state).parts();
  Parts parts;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].count() > 0 && (i == 0 ? has_weights : has_rest)) parts.push_back(all[i]);
  }
  return parts;
}

/// Calls `each(id, parts)` for every block of a letter, in the order in which its tensors stand.
template <class F>
void for_blocks(runtime::StateArena& arena, const wire::BlockLetter& letter, F each) {
  for (const int64_t id : letter.whole()) each(id, parts_of(arena, id, letter.state(), true, true));
  for (const int64_t id : letter.weights()) each(id, parts_of(arena, id, letter.state(), true, false));
  for (const int64_t id : letter.rest()) each(id, parts_of(arena, id, letter.state(), false, true));
}

bool are_among(const Ids& ids, const std::vector<int64_t>& wanted) {
  return std::all_of(ids.begin(), ids.end(), [&](int64_t id) {
    return std::binary_search(wanted.begin(), wanted.end(), id);
  });
}

}  // namespace

Mover::Mover(const Args& args)
    : arena_(args.arena), state_(args.state), process_(args.process), moves_(args.moves.moves) {
  for (const Move& move : moves_) {
    if (move.to == process_) missing_[move.from] = blocks_of(move);
  }
}

void Mover::received(int from, runtime::Parcel parcel) {
  {
    std::lock_guard lock(mutex_);
    parcels_.emplace_back(from, std::move(parcel));
  }
  changed_.notify_all();
}

void Mover::lose(int process, const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    gone_.emplace(process, why);
  }
  changed_.notify_all();
}

void Mover::send(runtime::DataPlane& plane) const {
  for (const Move& move : moves_) {
    if (move.from != process_) continue;
    wire::BlockLetter letter;
    const auto go = [&] {
      letter.set_state(state_);
      runtime::Parcel parcel;
      for_blocks(arena_, letter, [&](int64_t, const Parts& parts) {
        for (const kernels::Tensor& part : parts) parcel.tensors.push_back(in_arena(part));
      });
      parcel.letter = letter.SerializeAsString();
      plane.send(move.to, std::move(parcel));
      letter.Clear();
    };
    const auto add = [&](const std::vector<int64_t>& ids, Ids& to) {
      for (const int64_t id : ids) {
        to.Add(id);
        if (blocks_of(letter) == blocks_a_parcel) go();
      }
    };
    add(move.whole, *letter.mutable_whole());
    add(move.weights, *letter.mutable_weights());
    add(move.rest, *letter.mutable_rest());
    if (blocks_of(letter) > 0) go();
  }
}

bool Mover::take(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!missing_.empty()) {
    std::unique_lock lock(mutex_);
    const bool has_news = changed_.wait_until(lock, end, [&] {
      return !parcels_.empty() || std::any_of(gone_.begin(), gone_.end(), [&](const auto& one) {
        return missing_.contains(one.first);
      });
    });
    if (!has_news) return false;
    if (parcels_.empty()) {
      for (const auto& [process, why] : gone_) {
        if (missing_.contains(process)) throw ClusterError("who had yet to send blocks is gone: " + why);
      }
    }
    const auto [from, parcel] = std::move(parcels_.front());
    parcels_.pop_front();
    lock.unlock();
    put(from, parcel);
  }
  return true;
}

/// A block's stamp comes last: what is interrupted is not there.
void Mover::put(int from, const runtime::Parcel& parcel) {
  wire::BlockLetter letter;
  const auto move = std::find_if(moves_.begin(), moves_.end(), [&](const Move& one) {
    return one.from == from && one.to == process_;
  });
  const bool is_wanted = letter.ParseFromString(parcel.letter) && move != moves_.end() &&
                         letter.state() == state_ && are_among(letter.whole(), move->whole) &&
                         are_among(letter.weights(), move->weights) && are_among(letter.rest(), move->rest);
  if (!is_wanted) {
    throw ClusterError("process " + std::to_string(from) + " has sent blocks that process " +
                       std::to_string(process_) + " does not get from it");
  }
  size_t next = 0;
  for_blocks(arena_, letter, [&](int64_t id, const Parts& parts) {
    for (const kernels::Tensor& part : parts) {
      const runtime::TensorRef& come = parcel.tensors.at(next++);
      kernels::copy_now(come.view, part);
    }
    arena_.set_stamp(id, state_);
  });
  size_t& missing = missing_[from];
  missing -= std::min(missing, static_cast<size_t>(blocks_of(letter)));
  if (missing == 0) missing_.erase(from);
}

}  // namespace troupe::actors
