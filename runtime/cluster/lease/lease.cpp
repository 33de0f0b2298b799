#include "runtime/cluster/lease/lease.h"

#include <xxhash.h>

#include <csignal>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/urgent_thread.h"

namespace troupe::runtime {
namespace {

/// So often a lease is kept alive within its time: some words may get lost.
constexpr int words_a_lease = 6;

}  // namespace

std::string LeasePlace::describe() const {
  std::string text;
  for (const Endpoint& server : servers) text += (text.empty() ? "" : ", ") + to_string(server);
  return "etcd at " + text;
}

uint64_t hash_of(std::span<const std::string> texts) {
  std::string all;
  for (const std::string& text : texts) all += LeaseRules::value_of(text.size()) + text;
  return XXH3_64bits(all.data(), all.size());
}

KeptLease::KeptLease(const LeasePlace& place)
    : client_(place.client()), seconds_(place.seconds), id_(client_.grant(place.seconds)) {
  sigset_t all, before;  // signals are for threads that are started later
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread([this] {
    make_urgent();
    loop();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

KeptLease::~KeptLease() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  ended_.notify_all();
  thread_.join();
  try {
    if (loss_.empty() && !is_left_) client_.revoke(id_);
  } catch (const ClusterError&) {
    // it ends by itself
  }
}

std::string KeptLease::loss() const {
  std::lock_guard lock(mutex_);
  return loss_;
}

void KeptLease::on_loss(std::function<void(const std::string&)> lost) {
  std::lock_guard calling(calling_);
  lost_ = std::move(lost);
  const std::string how = loss();
  if (lost_ && !how.empty()) std::exchange(lost_, {})(how);
}

void KeptLease::lose(const std::string& how) {
  {
    std::lock_guard lock(mutex_);
    if (!loss_.empty()) return;
    loss_ = how;
  }
  std::lock_guard calling(calling_);
  if (lost_) std::exchange(lost_, {})(how);
}

/// Etcd may be gone for longer than the lease, and the lease still be there when it is back: only etcd
/// says that it has ended.
void KeptLease::loop() {
  const std::chrono::milliseconds interval(1000 * seconds_ / words_a_lease);
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, interval, [this] { return is_over_; })) {
    lock.unlock();
    bool is_there = true;
    try {
      is_there = client_.keep_alive(id_);
    } catch (const ClusterError&) {
      // tried again
    }
    if (!is_there) lose("its lease has ended: etcd has not heard of it for " +
                        std::to_string(seconds_) + " s");
    lock.lock();
    if (!is_there) return;
  }
}

Leadership::Leadership(const LeasePlace& place, std::unique_ptr<KeptLease> lease,
                       const LeaderTerm& term)
    : rules_(place.rules()), term_(term), client_(place.client()), lease_(std::move(lease)) {}

Commitment Leadership::append(const wire::JournalEntry& entry) {
  if (entry.has_commit()) {
    const std::string record = entry.commit().SerializeAsString();
    return write(rules_.commit(term_, entry.commit().step(), record), record);
  }
  if (!entry.has_applied()) return Commitment::committed;
  const wire::JournalApplied& applied = entry.applied();
  return write(rules_.journal_hash(term_, applied.step(), applied.hash()),
               LeaseRules::value_of(applied.hash()));
}

Commitment Leadership::finish(const wire::LeasedEnd& end) {
  return write(rules_.finish(term_, end), end.SerializeAsString());
}

std::string Leadership::error() const {
  std::lock_guard lock(mutex_);
  return error_;
}

Commitment Leadership::write(const EtcdTransaction& transaction, const std::string& value) {
  Commitment outcome = Commitment::unknown;
  {
    std::lock_guard lock(mutex_);
    try {
      outcome = rules_.outcome(client_.run(transaction), term_, value);
      if (outcome == Commitment::fenced) {
        error_ = "term " + std::to_string(term_.term) + " is over: another leads, or its lease has ended";
      }
    } catch (const ClusterError& error) {
      error_ = error.what();
    }
  }
  if (outcome == Commitment::fenced) lease_->lose(error());
  return outcome;
}

}  // namespace troupe::runtime
