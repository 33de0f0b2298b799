// Planes to test with: what one hears, tensors with known content, two planes that know each other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "runtime/data_plane/data_plane.h"
#include "runtime/data_plane/local.h"

namespace troupe::tests {

using runtime::DataPlane;
using runtime::DataPlaneError;
using runtime::Parcel;
using runtime::PlaneEvents;
using runtime::PlaneOptions;
using runtime::TensorRef;

/// What a plane told its owner.
class Inbox {
 public:
  struct Loss {
    int peer;
    std::string why;
    std::vector<std::string> undelivered;
  };

  /// `first` is called before a parcel is put in, on the plane's thread.
  PlaneEvents events(std::function<void(const Parcel&)> first = {}) {
    return {.received =
                [this, first](int peer, Parcel parcel) {
                  if (first) first(parcel);
                  std::lock_guard lock(mutex_);
                  parcels_.emplace_back(peer, std::move(parcel));
                  changed_.notify_all();
                },
            .lost =
                [this](int peer, const std::string& why, std::vector<std::string> undelivered) {
                  std::lock_guard lock(mutex_);
                  losses_.push_back({peer, why, std::move(undelivered)});
                  changed_.notify_all();
                }};
  }

  /// The first n parcels, by letter. Fewer if they do not come.
  std::map<std::string, Parcel> parcels(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return parcels_.size() >= n; });
    std::map<std::string, Parcel> out;
    for (const auto& [peer, parcel] : parcels_) out[parcel.letter] = parcel;
    return out;
  }

  /// Letters in the order of arrival.
  std::vector<std::string> order() {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [peer, parcel] : parcels_) out.push_back(parcel.letter);
    return out;
  }

  void forget() {
    std::lock_guard lock(mutex_);
    parcels_.clear();
  }

  /// True if nothing happens in this time.
  bool is_quiet_for(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    const size_t before = parcels_.size() + losses_.size();
    return !changed_.wait_for(lock, time,
                              [&] { return parcels_.size() + losses_.size() > before; });
  }

  /// The first n losses. Fewer if they do not come.
  std::vector<Loss> losses(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return losses_.size() >= n; });
    return losses_;
  }

 private:
  static constexpr std::chrono::seconds patience{30};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<int, Parcel>> parcels_;
  std::vector<Loss> losses_;
};

/// A tensor whose bytes follow from its seed.
inline TensorRef filled(kernels::DType dtype, std::initializer_list<int64_t> shape, uint32_t seed) {
  const auto buffer = kernels::allocate(dtype, shape);
  auto* words = static_cast<uint64_t*>(buffer.view.data);  // buffers are whole lines of 64 bytes
  uint64_t state = seed + 1;
  for (int64_t i = 0; i < (buffer.view.count() * kernels::size_of(dtype) + 7) / 8; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    words[i] = state ^ (state >> 29);
  }
  return {buffer.view, buffer.memory};
}

inline TensorRef filled_bytes(int64_t n, uint32_t seed) {
  return filled(kernels::DType::f8_e4m3, {n}, seed);
}

inline bool is_same(const TensorRef& a, const TensorRef& b) {
  const auto& x = a.view;
  const auto& y = b.view;
  if (x.dtype != y.dtype || x.rank != y.rank || x.shape != y.shape || x.device != y.device) {
    return false;
  }
  const auto n = static_cast<size_t>(x.count() * kernels::size_of(x.dtype));
  return y.is_contiguous() && (n == 0 || std::memcmp(x.data, y.data, n) == 0);
}

/// Over which wire.
struct Wire {
  const char* name;
  const char* transports;  ///< of UCX; null: the local plane
  const char* network;

  std::unique_ptr<DataPlane> plane(PlaneEvents events, PlaneOptions options = {}) const {
    if (transports == nullptr) return runtime::make_local_plane(std::move(events));
    options.transports = transports;
    options.network = network;
    return runtime::make_ucx_plane(options, std::move(events));
  }
};
inline void PrintTo(const Wire& wire, std::ostream* out) { *out << wire.name; }

inline std::vector<Wire> ucx_wires() {
  return {{"tcp", "tcp", "lo"}, {"tcp_and_cma", "tcp,cma", "lo"}, {"shared_memory", "posix,cma", ""}};
}
inline std::vector<Wire> wires() {
  auto all = ucx_wires();
  all.push_back({"local", nullptr, ""});
  return all;
}
inline std::string wire_name(const testing::TestParamInfo<Wire>& info) { return info.param.name; }

/// Waits for what no event announces. False if it does not come.
template <class Condition>
bool comes_true(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

/// Two planes in one process. Each calls the other by its own number plus 10.
struct Pair {
  explicit Pair(const Wire& wire, const PlaneOptions& options = {},
                std::function<void(const Parcel&)> first_at_b = {})
      : a(wire.plane(inbox_a.events(), options)),
        b(wire.plane(inbox_b.events(std::move(first_at_b)), options)) {
    a->connect(11, b->address());
    b->connect(10, a->address());
  }
  Inbox inbox_a, inbox_b;
  std::unique_ptr<DataPlane> a, b;
};

/// Skips without UCX where it is needed.
class WireTest : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    if (GetParam().transports != nullptr && !runtime::has_ucx())
      GTEST_SKIP() << runtime::why_no_ucx();
  }
};

}  // namespace troupe::tests
