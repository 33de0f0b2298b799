// Planes to test with: what one hears, tensors with known content, two planes that know each other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
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

  PlaneEvents events() {
    return {.received =
                [this](int peer, Parcel parcel) {
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
  auto* bytes = static_cast<uint8_t*>(buffer.view.data);
  uint32_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < buffer.view.count() * kernels::size_of(dtype); ++i) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = static_cast<uint8_t>(state >> 24);
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
  return {{"tcp", "tcp", "lo"}, {"shared_memory", "posix,cma", ""}};
}
inline std::vector<Wire> wires() {
  auto all = ucx_wires();
  all.push_back({"local", nullptr, ""});
  return all;
}
inline std::string wire_name(const testing::TestParamInfo<Wire>& info) { return info.param.name; }

/// Two planes in one process. Each calls the other by its own number plus 10.
struct Pair {
  explicit Pair(const Wire& wire, const PlaneOptions& options = {})
      : a(wire.plane(inbox_a.events(), options)), b(wire.plane(inbox_b.events(), options)) {
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
