// The plane's own thread.
#include <sys/prctl.h>

#include "runtime/data_plane/ucx.h"

namespace troupe::runtime {
namespace {

/// Parcels that have arrived are confirmed by so many, or after so long, or before sleep.
constexpr size_t confirm_parcels = 16;
constexpr std::chrono::microseconds confirm_age{20};

}  // namespace

void UcxPlane::live(std::promise<void>& started) {
  prctl(PR_SET_NAME, "troupe.ucx");
  std::unique_ptr<UcxWorker> worker;
  try {
    worker =
        std::make_unique<UcxWorker>(context_, memory_, plane_, static_cast<UcxListener&>(*this));
    sleeper_.watch(worker->file());
    address_ = to_bytes({plane_, worker->address(), carries_gpu_memory()});
  } catch (const std::exception&) {
    return started.set_exception(std::current_exception());
  }
  worker_ = worker.get();
  started.set_value();
  look_for_work();
  // Peers hear of it, the owner does not: it is ending the plane.
  worker.reset();
}

void UcxPlane::look_for_work() {
  SpinBudget spin{std::chrono::microseconds(options_.spin_us)};
  NapLength nap;
  auto idle_since = Clock::now();
  bool was_idle = false;
  while (!is_ending_) {
    if (work()) {
      if (was_idle) spin.found_work(Clock::now() - idle_since);
      was_idle = false;
      nap.found_work();
      continue;
    }
    const auto now = Clock::now();
    if (!was_idle) idle_since = now;
    was_idle = true;
    if (now - idle_since < spin.now() || worker_->is_reading_gpu()) {
      __builtin_ia32_pause();
      continue;
    }
    if (confirm(true)) continue;
    spin.found_nothing();
    sleeper_.lie_down();
    if (is_ending_ || has_submissions_ || !worker_->arm()) {
      sleeper_.stay_awake();
      continue;
    }
    ++counters_.sleeps;
    // That a peer has made room in shared memory is announced by nobody.
    sleeper_.sleep(nap.next(worker_->is_under_way()));
  }
}

/// One round. False if there was nothing to do.
bool UcxPlane::work() {
  bool did = has_submissions_ && take_commands();
  did |= has_submissions_ && take_submissions();
  did |= worker_->progress();
  did |= deliver();
  did |= bury();
  did |= confirm(false);
  return did;
}

bool UcxPlane::take_commands() {
  std::vector<std::packaged_task<void()>> commands;
  {
    std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (auto& command : commands) command();
  return !commands.empty();
}

bool UcxPlane::take_submissions() {
  std::vector<std::pair<uint64_t, PackedParcel>> submissions;
  {
    std::lock_guard lock(mutex_);
    submissions.swap(submissions_);
    has_submissions_ = !commands_.empty();
  }
  for (auto& [plane, parcel] : submissions) {
    Peer& peer = *peers_.at(plane);  // a lost one takes its submissions along
    if (peer.outgoing.submit(std::move(parcel))) ++counters_.parcels_held_back;
    let_go(peer);
  }
  return !submissions.empty();
}

/// Sends what has credit.
void UcxPlane::let_go(Peer& peer) {
  while (auto parcel = peer.outgoing.next()) {
    ++counters_.parcels_sent;
    counters_.tensor_bytes_sent += static_cast<uint64_t>(parcel->tensor_bytes);
    worker_->send(peer.plane, std::move(*parcel));
  }
}

void UcxPlane::parcel(const ParcelHeader& header, std::string_view packed) {
  auto unpacked = unpack(header, packed);
  counters_.copied_bytes += packed.size();
  auto whole = peers_.at(header.plane)->incoming.add(header.number, std::move(unpacked));
  if (whole) deliveries_.push_back({header.plane, std::move(*whole)});
}

void UcxPlane::tensor(const TensorHeader& header, TensorRef memory) {
  auto whole = peers_.at(header.plane)
                   ->incoming.add(header.number, header.index, std::move(memory), header.bytes);
  if (whole) deliveries_.push_back({header.plane, std::move(*whole)});
}

void UcxPlane::confirmed(uint64_t plane, std::span<const uint64_t> numbers) {
  Peer& peer = *peers_.at(plane);
  for (const uint64_t number : numbers) {
    if (!peer.outgoing.confirm(number)) {
      throw DataPlaneError("parcel " + std::to_string(number) +
                           " is confirmed, wanted one that is under way");
    }
  }
  let_go(peer);
}

void UcxPlane::failed(uint64_t plane, const std::string& why) {
  const auto found = peers_.find(plane);
  if (found == peers_.end() || !found->second->failure.empty()) return;
  found->second->failure = why.empty() ? "failed" : why;
  failed_.push_back(plane);
}

bool UcxPlane::deliver() {
  if (deliveries_.empty()) return false;
  std::vector<Delivery> deliveries;
  deliveries.swap(deliveries_);
  for (Delivery& delivery : deliveries) {
    Peer& peer = *peers_.at(delivery.plane);
    ++counters_.parcels_received;
    for (const TensorRef& tensor : delivery.whole.parcel.tensors) {
      counters_.tensor_bytes_received += static_cast<uint64_t>(bytes_of(tensor.view));
    }
    try {
      if (events_.received) events_.received(peer.number, std::move(delivery.whole.parcel));
    } catch (const std::exception& error) {
      failed(peer.plane, error.what());
      continue;
    }
    if (peer.to_confirm.empty()) peer.confirm_since = Clock::now();
    peer.to_confirm.push_back(delivery.whole.number);
  }
  return true;
}

/// Sends confirmations: those that are due, or all. False if there were none.
bool UcxPlane::confirm(bool all) {
  bool did = false;
  for (auto& [plane, peer] : peers_) {
    if (peer->to_confirm.empty()) continue;
    if (!all && peer->to_confirm.size() < confirm_parcels &&
        Clock::now() - peer->confirm_since < confirm_age) {
      continue;
    }
    worker_->confirm(plane, peer->to_confirm);
    peer->to_confirm.clear();
    did = true;
  }
  return did;
}

bool UcxPlane::bury() {
  if (failed_.empty()) return false;
  std::vector<uint64_t> failed;
  failed.swap(failed_);
  for (const uint64_t plane : failed) {
    worker_->close(std::span(&plane, 1), peers_.at(plane)->failure);
    auto peer = std::move(peers_.at(plane));
    peers_.erase(plane);
    lose(*peer);
  }
  return true;
}

void UcxPlane::lose(Peer& peer) {
  std::vector<std::string> undelivered = peer.outgoing.take_letters();
  {
    std::lock_guard lock(mutex_);
    connected_.erase(peer.number);
    std::erase_if(submissions_, [&](auto& submission) {
      if (submission.first != peer.plane) return false;
      undelivered.push_back(std::move(submission.second.letter));
      return true;
    });
  }
  std::erase_if(deliveries_, [&](const Delivery& d) { return d.plane == peer.plane; });
  if (events_.lost) events_.lost(peer.number, peer.failure, std::move(undelivered));
}

}  // namespace troupe::runtime
