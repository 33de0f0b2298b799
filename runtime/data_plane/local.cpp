#include "runtime/data_plane/local.h"

#include <charconv>
#include <map>
#include <mutex>

namespace troupe::runtime {
namespace {

class LocalPlane;

/// Planes of this process by number.
struct Hub {
  std::mutex mutex;
  std::map<uint64_t, LocalPlane*> planes;
  uint64_t next = 1;
};
Hub& hub() {
  static Hub* const instance = new Hub;
  return *instance;
}

class LocalPlane : public DataPlane {
 public:
  explicit LocalPlane(PlaneEvents events) : events_(std::move(events)) {
    std::lock_guard lock(hub().mutex);
    number_ = hub().next++;
    hub().planes[number_] = this;
  }
  ~LocalPlane() override {
    std::lock_guard lock(hub().mutex);
    hub().planes.erase(number_);
  }

  std::string describe() const override { return "local (pointers)"; }
  std::string address() const override { return std::to_string(number_); }
  bool carries_gpu_memory() const override { return true; }

  void connect(int peer, const std::string& address) override {
    uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(address.data(), address.data() + address.size(), number);
    std::lock_guard hub_lock(hub().mutex);
    if (error != std::errc() || !hub().planes.contains(number)) {
      throw DataPlaneError("found local address '" + address + "', wanted one of this process");
    }
    std::lock_guard lock(mutex_);
    if (!peers_.emplace(peer, number).second) {
      throw DataPlaneError("peer " + std::to_string(peer) + " is connected already");
    }
  }

  void disconnect(int peer) override {
    {
      std::lock_guard lock(mutex_);
      if (peers_.erase(peer) == 0) return;
    }
    if (events_.lost) events_.lost(peer, "disconnected", {});
  }

  void send(int peer, Parcel parcel) override {
    std::lock_guard hub_lock(hub().mutex);
    const auto to = hub().planes.find(number_of(peer));
    if (to == hub().planes.end()) {
      throw DataPlaneError("peer " + std::to_string(peer) + " is gone");
    }
    count(parcel, false);
    to->second->receive(number_, std::move(parcel));
  }

  PlaneCounters counters() const override {
    std::lock_guard lock(mutex_);
    return counters_;
  }

 private:
  uint64_t number_of(int peer) const {
    std::lock_guard lock(mutex_);
    const auto found = peers_.find(peer);
    if (found == peers_.end()) {
      throw DataPlaneError("peer " + std::to_string(peer) + " is not connected");
    }
    return found->second;
  }

  void receive(uint64_t from, Parcel parcel) {
    count(parcel, true);
    int peer = -1;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [number, plane] : peers_) {
        if (plane == from) peer = number;
      }
    }
    if (peer >= 0 && events_.received) events_.received(peer, std::move(parcel));
  }

  void count(const Parcel& parcel, bool is_received) {
    uint64_t bytes = 0;
    for (const TensorRef& tensor : parcel.tensors) {
      bytes += static_cast<uint64_t>(tensor.view.count() * kernels::size_of(tensor.view.dtype));
    }
    std::lock_guard lock(mutex_);
    ++(is_received ? counters_.parcels_received : counters_.parcels_sent);
    if (!is_received) ++counters_.parcels_taken;
    (is_received ? counters_.tensor_bytes_received : counters_.tensor_bytes_sent) += bytes;
  }

  const PlaneEvents events_;
  uint64_t number_ = 0;
  mutable std::mutex mutex_;
  std::map<int, uint64_t> peers_;
  PlaneCounters counters_;
};

}  // namespace

std::unique_ptr<DataPlane> make_local_plane(PlaneEvents events) {
  return std::make_unique<LocalPlane>(std::move(events));
}

}  // namespace troupe::runtime
