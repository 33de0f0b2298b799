// How a process becomes one of a run. Both sides prove that they have the cluster's secret, each over
// the other's nonce, so a listener learns nothing, a recording serves nobody, and neither a stranger's
// node nor a stranger's leader is believed. Build and arithmetic are compared before anything starts.
//
//   leader: Challenge(nonce)   node: Hello(nonce, facts, proof)   leader: Start(start, proof) or refusal
#pragma once

#include <vector>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/join/frame_socket.h"
#include "runtime/cluster/join/secret.h"

namespace troupe::runtime {

/// Changes with what is said or meant.
constexpr uint32_t join_protocol = 1;

/// A node that the leader has taken.
struct Member {
  FrameSocket socket;
  wire::NodeFacts facts;
  std::string nonce;  ///< of the node, for the leader's proof
};

/// The leader's side. Throws ClusterError when the peer is not to be one of the run, after it has been
/// told why (it has not got the secret, or speaks another protocol, has another build or arithmetic),
/// or when it does not say in time who it is.
Member admit(FrameSocket socket, const Secret& secret, const wire::NodeFacts& own, Deadline deadline);
/// The first half of it: a nonce of this side, which the peer has been sent. Throws ClusterError: it is gone.
std::string challenge(FrameSocket& socket);
/// The second, with what the first has given.
Member admit(FrameSocket socket, const std::string& nonce, const Secret& secret,
             const wire::NodeFacts& own, Deadline deadline);
/// Tells who wants to be one of the run why it cannot, and throws ClusterError that says the same.
[[noreturn]] void refuse(FrameSocket& socket, const std::string& why);

/// A node was told to come again: its own end of the connection is of no more use.
class ComeAgain : public ClusterError {
 public:
  using ClusterError::ClusterError;
};

/// A node is not to be one of the run as it is.
class Refused : public ClusterError {
 public:
  using ClusterError::ClusterError;
};

/// Tells a member to come again.
void put_off(FrameSocket& socket, const std::string& why);

/// Tells a member its part.
void start_node(Member& member, const Secret& secret, const wire::NodeStart& start);

/// Waits until a started node's actors are there; what it has reported before. Throws ClusterError:
/// which node is gone, cannot begin and why, or is late.
std::vector<wire::Event> wait_for_ready(Member& member, Deadline deadline);

/// Waits until a node has the blocks that it gets (NodeStart.regroup). Throws ClusterError: which node is gone,
/// cannot go on, does not reach another, or is late.
void wait_for_moved(Member& member, Deadline deadline);

/// The node's side: waits for the part that it gets. Throws ClusterError: Refused, the leader has not
/// the secret or speaks another protocol, or is gone; ComeAgain. `hello_deadline` is for what the leader says
/// first; it may then wait for other nodes as long as it likes.
wire::NodeStart join(FrameSocket& socket, const Secret& secret, const wire::NodeFacts& own,
                     Deadline hello_deadline);

/// A number of this program file: two processes with the same one have the same code.
std::string build_id();

}  // namespace troupe::runtime
