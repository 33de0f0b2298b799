// The plane between processes. Who sends only leaves a parcel, packed; one thread does all the
// rest.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/data_plane/edge.h"
#include "runtime/data_plane/progress_sleep.h"
#include "runtime/data_plane/ucx_worker.h"

namespace troupe::runtime {

/// Written by one thread or another, read by any.
struct AtomicCounters {
  std::atomic<uint64_t> parcels_sent = 0, parcels_received = 0, tensor_bytes_sent = 0,
                        tensor_bytes_received = 0, parcels_taken = 0, wire_bytes_taken = 0,
                        copied_bytes = 0, parcels_held_back = 0, sleeps = 0;
};

class UcxPlane : public DataPlane, private UcxListener {
 public:
  UcxPlane(const PlaneOptions& options, PlaneEvents events);
  ~UcxPlane() override;

  std::string describe() const override;
  std::string address() const override { return address_; }
  bool carries_gpu_memory() const override;
  void connect(int peer, const std::string& address) override;
  void disconnect(int peer) override;
  void send(int peer, Parcel parcel) override;
  PlaneCounters counters() const override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    int number;
    uint64_t plane;
    OutgoingEdge outgoing;
    IncomingEdge incoming;
    std::vector<uint64_t> to_confirm;
    Clock::time_point confirm_since;
    std::string failure;
  };
  struct Delivery {
    uint64_t plane;
    IncomingEdge::Whole whole;
  };

  // Inside of the worker's progress.
  void parcel(const ParcelHeader& header, std::string_view packed) override;
  void tensor(const TensorHeader& header, TensorRef memory) override;
  void confirmed(uint64_t plane, std::span<const uint64_t> numbers) override;
  void failed(uint64_t plane, const std::string& why) override;

  void live(std::promise<void>& started);
  void look_for_work();
  bool work();
  bool take_commands();
  bool take_submissions();
  bool deliver();
  bool bury();
  bool confirm(bool all);
  void let_go(Peer& peer);
  void lose(Peer& peer);
  void run_there(std::function<void()> command, bool waits);

  const PlaneOptions options_;
  const PlaneEvents events_;
  const uint64_t plane_ = new_plane_number();
  const std::shared_ptr<const UcxContext> context_;
  const std::shared_ptr<UcxMemory> memory_;
  std::string address_;
  AtomicCounters counters_;

  // Of the progress thread.
  UcxWorker* worker_ = nullptr;
  std::unordered_map<uint64_t, std::unique_ptr<Peer>> peers_;  // by plane
  std::set<uint64_t> known_planes_;                            // also those that are lost
  std::vector<Delivery> deliveries_;
  std::vector<uint64_t> failed_;

  // Between threads.
  std::mutex mutex_;
  std::unordered_map<int, uint64_t> connected_;
  std::set<int> without_gpu_memory_;  // of those
  std::vector<std::pair<uint64_t, PackedParcel>> submissions_;
  std::vector<std::packaged_task<void()>> commands_;
  std::atomic<bool> has_submissions_{false};
  std::atomic<bool> is_ending_{false};
  Sleeper sleeper_;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace troupe::runtime
