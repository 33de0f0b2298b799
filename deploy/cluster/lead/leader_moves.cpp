// How a leader lets blocks move before the first step of a run that goes on with other processes, with the help
// of those that leave.
#include "deploy/cluster/lead/leader.h"
#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::within;

/// For everybody to have its blocks, and a second more for so many bytes of them.
constexpr auto move_time = 10s;
constexpr int64_t slowest_move = 20'000'000;
/// For those that leave to be there.
constexpr auto guest_time = 10s;

}  // namespace

/// A process, or one that leaves, is not reached any more.
void Leader::unplugged(int peer, const std::string& why) {
  runtime::Members& members = gathering_->members();
  if (is_moving_) mover_->lose(peer, why);
  if (peer <= members.count()) lost(peer, 0, members.describe(peer) + ": " + why);
}

void Leader::start_guests() {
  std::vector<runtime::Member>& guests = gathering_->guests();
  wire::NodeStart start = start_message();
  start.set_is_handed_state(true);
  if (mover_) *start.mutable_regroup() = *gathering_->regroup();
  for (runtime::Member& guest : guests) {
    const int process = gathering_->members().count() + 1 + static_cast<int>(&guest - guests.data());
    guest.socket.set_peer("who leaves (" + guest.facts.host() + ", pid " + std::to_string(guest.facts.pid()) +
                          ")");
    plane_->connect(process, guest.facts.data_address());
    start.set_process(process);
    runtime::start_node(guest, gathering_->secret(), start);
  }
  for (runtime::Member& guest : guests) runtime::wait_for_ready(guest, within(guest_time));
}

/// Everybody reaches everybody when this begins. What was promised to who leaves is kept: it ends well.
void Leader::move_blocks() {
  const auto deadline = within(move_time + std::chrono::seconds(company_->arena.bytes() / slowest_move));
  std::vector<runtime::Member>& guests = gathering_->guests();
  wire::JoinFrame move;
  move.mutable_move();
  gathering_->members().tell(move);
  for (runtime::Member& guest : guests) guest.socket.send(move);
  mover_->send(*plane_);
  while (!mover_->take(100ms)) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw runtime::ClusterError("blocks of the run's state have not come in time");
    }
  }
  if (has_its_blocks_) has_its_blocks_();
  gathering_->members().wait_until_moved(deadline);
  for (runtime::Member& guest : guests) runtime::wait_for_moved(guest, deadline);
  is_moving_ = false;
  wire::JoinFrame finish;
  finish.mutable_finish()->set_text("this node leaves the run");
  for (runtime::Member& guest : guests) {
    try {
      guest.socket.send(finish);
    } catch (const runtime::ClusterError&) {
      // it has gone before it was told to
    }
  }
}

}  // namespace troupe::deploy
