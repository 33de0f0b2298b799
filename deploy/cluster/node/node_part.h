// A node's part of a run under one plan: its actors, the leaders that it follows, and what it holds when that
// is over.
#pragma once

#include <memory>

#include "deploy/cluster/node/leader_watch.h"
#include "deploy/cluster/node/node_line.h"
#include "deploy/cluster/node/node_way.h"
#include "deploy/process/stop_signals.h"
#include "runtime/data_plane/data_plane.h"
#include "runtime/state/arena.h"

namespace troupe::deploy {

using LeaderWatchPtr = std::unique_ptr<LeaderWatch>;

/// It hears of this process, and is given up when it is silent.
LeaderWatchPtr watch_leader(const Way& way, const wire::NodeStart& start, const Line::SocketPtr& socket);

/// What a leader says last: the run has ended for this node, or it is to come again, for another part; or nothing,
/// as the change that this part began with has failed elsewhere: then the node comes again by itself.
enum class Word { end, later, failed };

/// What a part is played with; all of it outlives it.
struct PartArgs {
  Way& way;
  const wire::NodeStart& start;
  const runtime::TlsFiles& tls;
  Line& line;
  Door& door;
  LeaderWatchPtr& watch;  ///< null: this node is about to leave
  const StopSignals& signals;
  std::unique_ptr<runtime::StateArena>& held;  ///< of the run, whatever this process's part is; null: nothing yet
};

/// A node says that it holds no part of a run's state.
void holds_nothing(wire::NodeFacts& facts);

/// Plays this process's part until the leader says its last word; `way` then says what it holds. Throws
/// ClusterError when nobody leads any more, or whoever does goes on without it (NoPart, Refused).
Word play(const PartArgs& part, std::unique_ptr<runtime::DataPlane> plane);

}  // namespace troupe::deploy
