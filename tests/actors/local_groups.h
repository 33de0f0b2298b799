// Groups of companies of this process: what GPUs of several do by NCCL, on the host. The last member that comes does
// what all have asked for, one by one; a member that gives up ends the group for the others.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>

#include "runtime/data_plane/device_group.h"

namespace troupe::tests {

class LocalGroups {
 public:
  using Deadline = runtime::DeviceGroup::Deadline;
  using Done = runtime::DeviceGroup::Done;
  enum class Work : uint8_t { sum, hand_out, exchange };
  struct Asked {
    std::vector<runtime::GroupPart> parts;
    std::vector<runtime::GroupSlice> sends, gets;
    Done done;
  };

  runtime::GroupMaker maker() {
    return [this](const runtime::GroupOptions& options) { return std::make_unique<Member>(*this, options); };
  }
  std::string new_id() {
    std::lock_guard lock(mutex_);
    return "group " + std::to_string(++groups_);
  }
  int groups() const { return groups_; }
  int sums() const { return works_.at(Work::sum); }
  int hand_outs() const { return works_.at(Work::hand_out); }
  int exchanges() const { return works_.at(Work::exchange); }

 private:
  struct Task {
    Work work;
    int circle;  // -1: all
    Asked asked;
  };
  struct Group {
    bool is_broken = false;
    std::map<int, std::deque<Task>> tasks;  // by rank: done one by one
  };
  using Meeting = std::map<int, Asked>;  // by rank

  class Member : public runtime::DeviceGroup {
   public:
    Member(LocalGroups& all, const runtime::GroupOptions& options) : all_(all), options_(options) {}
    ~Member() override { all_.leaves(options_); }
    std::string describe() const override { return "local"; }
    void sum(int circle, std::vector<runtime::GroupPart> parts, Deadline, Done done) override {
      all_.come(options_, Work::sum, circle, {std::move(parts), {}, {}, std::move(done)});
    }
    void hand_out(int circle, std::vector<runtime::GroupPart> parts, Deadline, Done done) override {
      all_.come(options_, Work::hand_out, circle, {std::move(parts), {}, {}, std::move(done)});
    }
    void exchange(std::vector<runtime::GroupSlice> sends, std::vector<runtime::GroupSlice> gets, Deadline,
                  Done done) override {
      all_.come(options_, Work::exchange, -1, {{}, std::move(sends), std::move(gets), std::move(done)});
    }

   private:
    LocalGroups& all_;
    const runtime::GroupOptions options_;
  };

  static void tell(const Asked& asked, const std::string& error) {
    if (asked.done) asked.done(error);
  }

  void leaves(const runtime::GroupOptions& options) {
    std::lock_guard lock(mutex_);
    Group& group = by_id_[options.id];
    group.is_broken = true;
    group.tasks.erase(options.rank);  // who gives up is told nothing
    for (const auto& [rank, tasks] : group.tasks) {
      for (const Task& task : tasks) tell(task.asked, "a member of the group has left");
    }
    group.tasks.clear();
  }

  void come(const runtime::GroupOptions& options, Work work, int circle, Asked asked) {
    std::lock_guard lock(mutex_);
    Group& group = by_id_[options.id];
    if (group.is_broken) return tell(asked, "a member of the group had left");
    group.tasks[options.rank].push_back({work, circle, std::move(asked)});
    while (meets(options, group)) {
    }
  }

  /// Whether some members have come to the same task, which has been done.
  bool meets(const runtime::GroupOptions& options, Group& group) {
    for (const auto& [first, its] : group.tasks) {
      if (its.empty()) continue;
      const auto [work, circle, unused] = its.front();
      std::vector<int> members(static_cast<size_t>(options.ranks));
      std::iota(members.begin(), members.end(), 0);
      if (circle >= 0) members = options.circles.at(static_cast<size_t>(circle));
      const auto has_come = [&](int rank) {
        const auto& tasks = group.tasks[rank];
        return !tasks.empty() && tasks.front().work == work && tasks.front().circle == circle;
      };
      if (!std::ranges::all_of(members, has_come)) continue;
      Meeting meeting;
      for (const int rank : members) {
        meeting[rank] = std::move(group.tasks[rank].front().asked);
        group.tasks[rank].pop_front();
      }
      ++works_[work];
      work == Work::exchange ? pass(meeting) : share(meeting, work);
      for (const auto& [rank, each] : meeting) tell(each, "");
      return true;
    }
    return false;
  }

  static size_t bytes_of(const kernels::Tensor& tensor) {
    return static_cast<size_t>(tensor.count() * kernels::size_of(tensor.dtype));
  }

  /// Throws where the members do not name the same parts.
  static void share(const Meeting& meeting, Work work) {
    const Asked& first = meeting.begin()->second;
    for (size_t i = 0; i < first.parts.size(); ++i) {
      const int root = first.parts[i].root;
      const kernels::Tensor of_root = meeting.at(root).parts.at(i).tensor;
      for (const auto& [rank, asked] : meeting) {
        const auto& [tensor, its_root] = asked.parts.at(i);
        if (asked.parts.size() != first.parts.size() || its_root != root || bytes_of(tensor) != bytes_of(of_root)) {
          throw std::logic_error("members of a group name other parts");
        }
        if (rank == root) continue;
        if (work == Work::hand_out) {
          std::memcpy(tensor.data, of_root.data, bytes_of(tensor));
          continue;
        }
        for (int64_t j = 0; j < tensor.count(); ++j) {
          kernels::values<int64_t>(of_root)[j] += kernels::values<int64_t>(tensor)[j];
        }
      }
    }
  }

  static void pass(const Meeting& meeting) {
    std::map<std::pair<int, int>, std::vector<kernels::Tensor>> sent;  // by sender and receiver
    for (const auto& [rank, asked] : meeting) {
      for (const auto& [tensor, peer] : asked.sends) sent[{rank, peer}].push_back(tensor);
    }
    std::map<std::pair<int, int>, size_t> taken;
    for (const auto& [rank, asked] : meeting) {
      for (const auto& [tensor, peer] : asked.gets) {
        const kernels::Tensor from = sent.at({peer, rank}).at(taken[{peer, rank}]++);
        if (bytes_of(from) != bytes_of(tensor)) throw std::logic_error("members of a group name other slices");
        std::memcpy(tensor.data, from.data, bytes_of(tensor));
      }
    }
  }

  std::mutex mutex_;
  int groups_ = 0;
  std::map<std::string, Group> by_id_;
  std::map<Work, int> works_{{Work::sum, 0}, {Work::hand_out, 0}, {Work::exchange, 0}};
};

}  // namespace troupe::tests
