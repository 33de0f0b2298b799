// A lease of etcd in use: kept alive by a thread, and, for who leads, what is written by it. The rules
// are in lease_rules.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "runtime/cluster/lease/lease_rules.h"
#include "runtime/proto/journal.pb.h"

namespace troupe::runtime {

/// Where a run's lease is.
struct LeasePlace {
  std::vector<Endpoint> servers;
  std::string name;
  int seconds;

  /// Of one server that does not answer another is asked after this.
  static constexpr std::chrono::milliseconds patience{1000};
  EtcdClient client() const { return {servers, patience}; }
  LeaseRules rules() const { return LeaseRules(name); }
  std::string describe() const;
};

/// xxh3 of texts, of each its length (u64, little-endian) and its bytes.
uint64_t hash_of(std::span<const std::string> texts);

class KeptLease {
 public:
  /// A new lease. Throws ClusterError: etcd does not answer.
  explicit KeptLease(const LeasePlace& place);
  /// Ends the lease, if etcd answers and it was not left; else it ends by itself.
  ~KeptLease();
  KeptLease(const KeptLease&) = delete;
  KeptLease& operator=(const KeptLease&) = delete;

  int64_t id() const { return id_; }
  /// Somebody follows who knows that this process has ended, or the lease's time passes.
  void leave() { is_left_ = true; }
  /// How it was lost; empty: it was not, as far as is known.
  std::string loss() const;
  /// On the thread of this object, once; at once if it is lost already. Empty: nobody is called any more.
  void on_loss(std::function<void(const std::string& how)> lost);
  void lose(const std::string& how);

 private:
  void loop();

  EtcdClient client_;
  const int seconds_;
  const int64_t id_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool is_over_ = false;
  std::atomic<bool> is_left_{false};
  std::string loss_;
  std::mutex calling_;
  std::function<void(const std::string&)> lost_;
  std::thread thread_;
};

/// A leader's: its commits are those that stand in etcd.
class Leadership {
 public:
  Leadership(const LeasePlace& place, std::unique_ptr<KeptLease> lease, const LeaderTerm& term);

  const LeaderTerm& term() const { return term_; }
  KeptLease& lease() { return *lease_; }

  /// Blocks for as long as etcd does not answer, up to LeasePlace::patience a server. May be called again
  /// with the same entry, and then is to be until something is known.
  Commitment append(const wire::JournalEntry& entry);
  /// The run has ended, for all who might lead it.
  Commitment finish(const wire::LeasedEnd& end);
  /// Of the last call that has not committed.
  std::string error() const;

 private:
  Commitment write(const EtcdTransaction& transaction, const std::string& value);

  const LeaseRules rules_;
  const LeaderTerm term_;
  mutable std::mutex mutex_;
  EtcdClient client_;
  std::string error_;
  const std::unique_ptr<KeptLease> lease_;
};

}  // namespace troupe::runtime
