// What any thread may call; the thread that does the work is in ucx_progress.cpp.
#include "runtime/data_plane/ucx.h"

namespace troupe::runtime {

UcxPlane::UcxPlane(const PlaneOptions& options, PlaneEvents events)
    : options_(options),
      events_(std::move(events)),
      context_(std::make_shared<const UcxContext>(options)),
      memory_(std::make_shared<UcxMemory>(context_, 2 * options.credit_bytes)) {
  std::promise<void> started;
  thread_ = std::thread([this, &started] { live(started); });
  try {
    started.get_future().get();
  } catch (const std::exception&) {
    thread_.join();
    throw;
  }
}

UcxPlane::~UcxPlane() {
  is_ending_ = true;
  sleeper_.wake();
  thread_.join();
}

/// Checksums are of what the host reads.
bool UcxPlane::carries_gpu_memory() const {
  return context_->knows_gpu_memory() && !options_.has_checksums;
}

std::string UcxPlane::describe() const {
  const std::string transports =
      options_.transports.empty() ? "cma,tcp,cuda" : options_.transports;
  const std::string gpu = carries_gpu_memory() ? ", memory of GPUs too" : "";
  return std::string("ucx ") + ucp_get_version_string() + " (" + transports + gpu + ")";
}

PlaneCounters UcxPlane::counters() const {
  const AtomicCounters& c = counters_;
  return {.parcels_sent = c.parcels_sent,
          .parcels_received = c.parcels_received,
          .tensor_bytes_sent = c.tensor_bytes_sent,
          .tensor_bytes_received = c.tensor_bytes_received,
          .parcels_taken = c.parcels_taken,
          .wire_bytes_taken = c.wire_bytes_taken,
          .copied_bytes = c.copied_bytes,
          .parcels_held_back = c.parcels_held_back,
          .sleeps = c.sleeps};
}

void UcxPlane::send(int peer, Parcel parcel) {
  PackedParcel packed = pack(std::move(parcel), plane_, options_.has_checksums);
  const auto copied = static_cast<uint64_t>(packed.copied_bytes);
  {
    std::lock_guard lock(mutex_);
    const auto found = connected_.find(peer);
    if (found == connected_.end()) {
      throw DataPlaneError("peer " + std::to_string(peer) + " is not connected");
    }
    if (has_gpu_memory(packed) && without_gpu_memory_.contains(peer)) {
      throw DataPlaneError("the plane of peer " + std::to_string(peer) +
                           " knows the host's memory alone (its UCX or its UCX_TLS is without CUDA), wanted "
                           "one that takes a GPU's");
    }
    counters_.wire_bytes_taken += packed.wire_bytes();
    ++counters_.parcels_taken;
    submissions_.emplace_back(found->second, std::move(packed));
    has_submissions_ = true;
  }
  counters_.copied_bytes += copied;
  sleeper_.wake();
}

void UcxPlane::connect(int peer, const std::string& address) {
  const PlaneAddress to = plane_address(address);
  const std::string name = "peer " + std::to_string(peer);
  if (to.plane == plane_) throw DataPlaneError(name + ": found the plane's own address");
  run_there(
      [&] {
        bury();  // whoever had that number and was disconnected
        std::lock_guard lock(mutex_);
        if (connected_.contains(peer)) throw DataPlaneError(name + " is connected already");
        if (known_planes_.contains(to.plane)) {
          throw DataPlaneError(name +
                               ": its address has been used before, wanted that of a new plane");
        }
        worker_->connect(to.plane, to.worker);
        known_planes_.insert(to.plane);
        peers_[to.plane] = std::make_unique<Peer>(
            Peer{peer,
                 to.plane,
                 OutgoingEdge(options_.credit_parcels, options_.credit_bytes),
                 {},
                 {},
                 {},
                 {}});
        connected_[peer] = to.plane;
        if (to.carries_gpu_memory) {
          without_gpu_memory_.erase(peer);
        } else {
          without_gpu_memory_.insert(peer);
        }
      },
      true);
}

void UcxPlane::disconnect(int peer) {
  run_there(
      [this, peer] {
        for (const auto& [plane, candidate] : peers_) {
          if (candidate->number == peer) return failed(plane, "disconnected");
        }
      },
      false);
}

/// Runs a command on the progress thread; `waits` until it is done, and throws what it throws.
void UcxPlane::run_there(std::function<void()> command, bool waits) {
  if (std::this_thread::get_id() == thread_.get_id()) return command();
  std::packaged_task<void()> task(std::move(command));
  std::future<void> done = task.get_future();
  {
    std::lock_guard lock(mutex_);
    commands_.push_back(std::move(task));
    has_submissions_ = true;
  }
  sleeper_.wake();
  if (waits) done.get();
}

std::unique_ptr<DataPlane> make_ucx_plane(const PlaneOptions& options, PlaneEvents events) {
  return std::make_unique<UcxPlane>(options, std::move(events));
}

std::string why_no_ucx() { return {}; }

}  // namespace troupe::runtime
