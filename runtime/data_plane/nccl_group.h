// A group by NCCL: communicators that do not block, on a stream of their own. Its thread puts collectives into the
// stream and watches them, so that whoever is lost, late or broken ends the group and no stream waits for ever.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "kernels/cuda/device/device.h"
#include "runtime/data_plane/device_group.h"
#include "runtime/data_plane/nccl_library.h"

namespace troupe::runtime {

/// Circles that have no member in common are split off at once: by round, each a list of indices of `circles`.
std::vector<std::vector<int>> rounds_of_circles(const std::vector<std::vector<int>>& circles);

class NcclGroup : public DeviceGroup {
 public:
  explicit NcclGroup(const GroupOptions& options);
  ~NcclGroup() override;

  std::string describe() const override;
  void sum(int circle, std::vector<GroupPart> parts, Deadline deadline, Done done) override;
  void hand_out(int circle, std::vector<GroupPart> parts, Deadline deadline, Done done) override;
  void exchange(std::vector<GroupSlice> sends, std::vector<GroupSlice> gets, Deadline deadline, Done done) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Circle {
    std::vector<int> members;
    ncclComm_t communicator = nullptr;  // null: this rank is none of it
    bool is_split = false;              // else the group's own
  };
  class OpenGroup;
  struct Task {
    const char* what;
    Deadline deadline;
    std::function<ncclComm_t()> put;  // into the stream
    Done done;
  };

  void live();
  void make();
  void split(const std::vector<int>& round, Clock::time_point until);
  void play(const Task& task);
  void give_up();
  void wait_for_kernels();
  void enqueue(Task task);
  const Circle& circle(int number) const;
  int rank_in(const Circle& circle, int rank) const;
  void expect(ncclResult_t result, const char* what) const;
  /// Waits until the communicator has done what it was asked for.
  void settle(ncclComm_t communicator, const char* what, Clock::time_point until);
  template <class IsOver>
  void wait_until(IsOver is_over, const char* what, Clock::time_point until);
  [[noreturn]] void fail(const char* what, const std::string& why) const;

  const GroupOptions options_;
  std::vector<Circle> circles_;

  // Of the thread.
  ncclComm_t communicator_ = nullptr;
  ncclComm_t splitting_ = nullptr;  // NCCL writes there until the split has ended, or its parent is aborted
  std::optional<kernels::cuda::Stream> stream_;
  std::string failure_;

  // Between threads.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  std::atomic<bool> is_ending_{false};
  std::thread thread_;  // last: it uses all the others
};

}  // namespace troupe::runtime
