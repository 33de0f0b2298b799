// Moves blocks between processes that stand still, from arena to arena by the data plane, as a list of
// moves says (actors/placement/moves.h).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "actors/placement/moves.h"
#include "runtime/data_plane/data_plane.h"

namespace troupe::actors {

class Mover {
 public:
  struct Args {
    runtime::StateArena& arena;
    uint64_t state;     ///< that everybody stands at
    int process;        ///< this one, as `moves` number them
    const Moves& moves;
  };
  explicit Mover(const Args& args);

  /// A parcel of another process, on any thread; before send() too.
  void received(int from, runtime::Parcel parcel);
  /// That process is gone, on any thread.
  void lose(int process, const std::string& why);

  /// Everybody reaches everybody: what others lack is on its way behind this. Throws DataPlaneError.
  void send(runtime::DataPlane& plane) const;
  /// Puts what has come where it belongs, for so long at most; true when nothing is missing. Throws
  /// ClusterError: somebody is gone who had yet to send, or has sent what this process has not asked for.
  bool take(std::chrono::milliseconds time);

 private:
  void put(int from, const runtime::Parcel& parcel);

  runtime::StateArena& arena_;
  const uint64_t state_;
  const int process_;
  const std::vector<Move> moves_;
  std::map<int, size_t> missing_;  // blocks, by sender; of who calls take()
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<int, runtime::Parcel>> parcels_;
  std::map<int, std::string> gone_;  // and why
};

}  // namespace troupe::actors
