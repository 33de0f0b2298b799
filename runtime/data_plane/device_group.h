// What processes do together with what lies in their GPUs: sums of integers for who owns them, what owners hand
// out, slices that each has for others. Beside the data plane, which carries messages from one to another: here all
// of a group call the same, in the same order, and the numbers never pass through a host.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "runtime/data_plane/data_plane.h"

namespace troupe::runtime {

/// A contiguous tensor that every member of a circle has, of one dtype and size.
struct GroupPart {
  kernels::Tensor tensor;
  int root;  ///< rank in the group whose sum it is to be, or who hands it out
};

/// What goes to a rank, or comes from it: contiguous; both sides name the same sizes in the same order.
struct GroupSlice {
  kernels::Tensor tensor;
  int peer;
};

struct GroupOptions {
  std::string id;  ///< of new_group_id(), in one process, once for every group
  int rank = 0;
  int ranks = 1;
  /// Ranks, ascending, that do something among themselves: the same list in every member.
  std::vector<std::vector<int>> circles;
  /// For the members to find each other.
  std::chrono::milliseconds deadline{std::chrono::minutes(10)};
};

/// A stable group of processes. It is made when it is constructed, in a thread of its own, which does what is
/// asked for one by one, in the order in which it is asked. Whatever fails or is late ends the group: what waits and what comes later is told so, and
/// nothing is written into anybody's tensors from then on. Sums are of integers, so that no order shows.
class DeviceGroup {
 public:
  /// Called on the group's thread, to return soon: nothing if it has ended here, else why not. Not when the group is
  /// given up.
  using Done = std::function<void(const std::string& error)>;
  using Deadline = std::chrono::milliseconds;

  /// Gives up what is under way, and waits until it is.
  virtual ~DeviceGroup() = default;

  /// "nccl 2.28.9, 2 ranks", for people.
  virtual std::string describe() const = 0;

  /// Adds the i64 tensors of a circle's members into the root's; the others' stay. What was enqueued to make them has
  /// ended.
  virtual void sum(int circle, std::vector<GroupPart> parts, Deadline deadline, Done done) = 0;
  /// The root's tensor into that of every member of the circle.
  virtual void hand_out(int circle, std::vector<GroupPart> parts, Deadline deadline, Done done) = 0;
  /// All ranks: each sends and gets its slices, all at a time.
  virtual void exchange(std::vector<GroupSlice> sends, std::vector<GroupSlice> gets, Deadline deadline, Done done) = 0;
};

using GroupMaker = std::function<std::unique_ptr<DeviceGroup>(const GroupOptions& options)>;

/// By NCCL, on the GPU of this process. Throws DataPlaneError where there is no NCCL; what fails later is told by
/// operations.
std::unique_ptr<DeviceGroup> make_nccl_group(const GroupOptions& options);
/// Throws DataPlaneError.
std::string new_nccl_id();
/// Why there is none: not in the build, or no libnccl.so.2 that is new enough is found. Empty: it can be used.
std::string why_no_nccl();

}  // namespace troupe::runtime
