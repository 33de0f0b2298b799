// The way of token messages: into a mailbox of this process, or by the data plane to another.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "actors/messages/directory.h"
#include "actors/placement/placement.h"
#include "runtime/data_plane/data_plane.h"

namespace troupe::actors {

/// Which handler takes a token message. Its number travels: only append.
enum class Verb : uint8_t { forward, backward, attended, routed, expert_rows, gradients, weights, state,
                            dispatched, reduced, restored };
inline constexpr int verbs = 11;

/// The words of actors' interfaces, as verbs.
inline Verb verb_of(forward_atom) { return Verb::forward; }
inline Verb verb_of(backward_atom) { return Verb::backward; }
inline Verb verb_of(attended_atom) { return Verb::attended; }
inline Verb verb_of(routed_atom) { return Verb::routed; }
inline Verb verb_of(expert_rows_atom) { return Verb::expert_rows; }
inline Verb verb_of(gradients_atom) { return Verb::gradients; }
inline Verb verb_of(weights_atom) { return Verb::weights; }
inline Verb verb_of(state_atom) { return Verb::state; }
inline Verb verb_of(dispatched_atom) { return Verb::dispatched; }
inline Verb verb_of(reduced_atom) { return Verb::reduced; }
inline Verb verb_of(restored_atom) { return Verb::restored; }

/// Thread-safe once the plane is set.
class PostOffice {
 public:
  /// `device` is where actors of the model compute in this process.
  PostOffice(const Directory& directory, const Placement& placement, int process,
             kernels::Device device = kernels::Device::cpu)
      : directory_(directory), placement_(placement), process_(process), device_(device) {}

  /// What others are reached by. Before the first message; null: there are no others.
  void set_plane(runtime::DataPlane* plane) { plane_ = plane; }
  /// Whether tensors in the GPU's memory go to other processes as they are.
  bool carries_gpu_memory() const { return plane_ && plane_->carries_gpu_memory(); }

  /// Into the mailbox, or onto the way there. Who is not there gets nothing. Throws OverloadError,
  /// and DataPlaneError when the process is not reachable (any more).
  void send(const Address& to, Verb verb, const TokenMessage& message) const;

  /// A process is gone: what is sent to it is dropped until another stands in its place.
  void lose(int process) const;
  void find_again(int process) const;

  /// What has been sent to other processes so far.
  wire::WireUse wire_use() const;

  /// A parcel from another process. False if its letter is none of ours.
  bool received(runtime::Parcel parcel) const;

 private:
  bool is_lost(int process) const;
  void deliver(const Address& to, Verb verb, TokenMessage message) const;

  const Directory& directory_;
  const Placement& placement_;
  const int process_;
  const kernels::Device device_;
  runtime::DataPlane* plane_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::set<int> lost_;
};

/// "expert_shard/0.0.1 (routed)": for errors that name what was lost. "?" for no letter.
std::string describe_letter(const std::string& letter);

}  // namespace troupe::actors
