// A run that is led by a lease (runtime/cluster/lease/lease_rules.h), as a command that may lead it takes part
// in it: who waits for the lease, and what whoever gets it has to know.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/proto/cluster.pb.h"
#include "deploy/cluster/lead/leader_supervisor.h"
#include "runtime/cluster/join/secret.h"
#include "runtime/cluster/journal/journal.h"
#include "runtime/cluster/lease/lease.h"

namespace troupe::deploy {

/// Throws ClusterError.
runtime::LeasePlace lease_place(const config::Cluster::Lease& lease);

/// Has the lease.
struct Mandate {
  std::unique_ptr<runtime::Leadership> leadership;  ///< null: the run has ended
  std::string end;           ///< how, then
  /// What has become of who led before, and left nodes that hold the state. Empty: nobody did.
  std::string loss;
  uint64_t loss_us = 0;      ///< when that was noticed, in microseconds since 1970
  int processes = 0, cores = 0;   ///< of the run under whoever led before; 0: as it is planned here
  std::vector<wire::JournalEntry> missing;  ///< in the journal at hand
};

class LeasedRun {
 public:
  enum class Part { begins, resumes, stands_by };
  struct Args {
    runtime::LeasePlace place;
    Part part;
    int priority;      ///< of a standby
    uint64_t recipe;   ///< hash of what has to be the same for all who may lead
  };
  /// Finds the run in etcd. One that begins it must not find one of its name; a standby waits for it,
  /// and for etcd once that has answered. Throws ClusterError: etcd does not answer, another recipe.
  explicit LeasedRun(const Args& args);

  const std::string& nonce() const { return run_.nonce(); }
  /// Who begins has the secret that all who may lead need. Throws ClusterError: this one has another.
  void prove(const runtime::Secret& secret);
  /// Once everything is there for the run to be led from here, and nodes would join at `address`: nobody else
  /// leads it first, unless this process is not heard of for the time of a lease. Throws ClusterError: somebody
  /// else has begun one of its name.
  void begin(const std::string& address);

  struct Candidate {
    const LeaderLife& life;
    runtime::JournalHistory& history;  ///< at hand; gets what is missing
    std::string address;               ///< where nodes would join
    int processes, cores;              ///< of a run that is planned here
  };
  /// Waits until this process leads, or the run has ended, for as long as it takes; what it waits for is
  /// printed.
  Mandate lead(const Candidate& candidate) const;

 private:
  const Args args_;
  wire::LeasedRun run_;
  bool is_new_ = false;
  bool has_ended_ = false;  // when it was found: it is to go on
  int64_t begun_revision_ = 0;  // by which this process is to lead first
};

}  // namespace troupe::deploy
