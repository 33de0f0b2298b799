// Who leads a run, and what it has committed, as it stands in etcd: the rules, without network, thread or
// clock. Keys below troupe/NAME/:
//
//   run            LeasedRun, written once, by who begins the run
//   leader         LeaseHolder; ends with the holder's lease. Of term 0: who has begun the run and is about to lead
//                  it, so that no standby does before it
//   last           LeaseHolder, the same, which stays: the term only goes up
//   standbys/ID    StandbyFacts; each ends with the standby's lease
//   commits/STEP   the record of a step: this is the commit. Created once, never changed
//   hashes/STEP    the hash of the state behind it, where there is one
//   end            LeasedEnd
//
// The revision in which `leader` was written is what makes a leader: everything that it writes is a
// transaction on it, so whoever has been followed by another writes nothing any more, whatever it believes.
// No clock is compared with another: etcd alone says when a lease has ended.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/cluster/lease/etcd.h"
#include "runtime/proto/cluster.pb.h"
#include "runtime/proto/step.pb.h"

namespace troupe::runtime {

/// What stands in etcd of a run.
struct LeaseView {
  std::optional<wire::LeasedRun> run;
  std::optional<wire::LeaseHolder> holder;
  int64_t holder_revision = 0;  ///< 0: nobody leads
  /// Who holds the lease and leads; null: nobody, or the run has only been begun.
  const wire::LeaseHolder* leader() const { return holder && holder->term() > 0 ? &*holder : nullptr; }
  std::optional<wire::LeaseHolder> last;  ///< who leads or has led last
  int64_t last_revision = 0;
  std::optional<wire::LeasedEnd> end;
  struct Standby {
    std::string id;
    int32_t priority;
    int64_t revision;  ///< in which it came
  };
  std::vector<Standby> standbys;  ///< who goes first stands first
  std::vector<wire::StepRecord> commits;  ///< from the step that was asked for, without a gap; a part
  std::map<uint64_t, uint64_t> hashes;    ///< by step
};

/// What makes a process the leader.
struct LeaderTerm {
  uint64_t term;
  int64_t revision;  ///< of `leader`
};

/// What has become of a record.
enum class Commitment : uint8_t {
  committed,  ///< it stands there
  fenced,     ///< somebody else leads, or nobody: it does not stand there and never will
  unknown,    ///< no answer: either
};

class LeaseRules {
 public:
  explicit LeaseRules(const std::string& name) : prefix_("troupe/" + name + "/") {}

  /// Of who leads alone: no commits.
  EtcdTransaction look() const;
  /// With commits of steps from `step` on, and hashes from `hash_step` on: a hash may be written long after its
  /// commit was read.
  EtcdTransaction look_from(uint64_t step, uint64_t hash_step) const;
  /// Throws ClusterError: what stands there is none of these.
  LeaseView view_of(const EtcdAnswer& answer, uint64_t from_step = 0) const;

  /// Holds if nobody has begun a run of this name. `beginner`, of term 0, is the one to lead it while `lease`
  /// lives.
  EtcdTransaction begin(const wire::LeasedRun& run, const wire::LeaseHolder& beginner, int64_t lease) const;
  /// None: somebody else has begun one. Else, also where an earlier try of which no answer came has begun `run`, the
  /// revision that is its beginner's predecessor in a claim; 0: nobody holds that any more.
  static std::optional<int64_t> begun(const EtcdAnswer& answer, const wire::LeasedRun& run,
                                      const wire::LeaseHolder& beginner);
  /// `id` ends with the lease.
  EtcdTransaction stand_by(const std::string& id, const wire::StandbyFacts& facts, int64_t lease) const;

  struct Claim {
    const LeaseView& view;      ///< what was seen
    int64_t predecessor;        ///< revision of the leader who is known to have ended; 0: none
    wire::LeaseHolder holder;   ///< with the term that `next_term` says
    int64_t lease;
    bool goes_on_behind_end;    ///< the run has been ended, and is to go on
  };
  /// Above every term there was, in etcd or in the journal at hand.
  static uint64_t next_term(const LeaseView& view, uint64_t journal_term);
  /// Holds if nobody else has led since the view. The answer's revision is that of the leadership.
  EtcdTransaction claim(const Claim& claim) const;
  /// Whether a claim of which no answer came has held.
  static std::optional<LeaderTerm> is_held(const LeaseView& view, const std::string& holder_id);

  EtcdTransaction commit(const LeaderTerm& leader, uint64_t step, const std::string& record) const;
  EtcdTransaction journal_hash(const LeaderTerm& leader, uint64_t step, uint64_t hash) const;
  EtcdTransaction finish(const LeaderTerm& leader, const wire::LeasedEnd& end) const;
  /// Of each of these three, which may be asked again when no answer came: `value` is what was to be
  /// written.
  Commitment outcome(const EtcdAnswer& answer, const LeaderTerm& leader, const std::string& value) const;

  static std::string value_of(uint64_t hash);

 private:
  EtcdTransaction write_once(const LeaderTerm& leader, const std::string& key,
                             const std::string& value) const;
  std::string step_key(const char* kind, uint64_t step) const;

  const std::string prefix_;
};

/// Whether a standby may claim a run that nobody leads: the first in the order at once, each next one
/// when all before it have had `turn` seconds and have not. `vacant`: seconds for which nobody has led, by the
/// clock of whoever asks.
bool is_turn_of(const std::string& id, const std::vector<LeaseView::Standby>& standbys, double vacant,
                double turn);

}  // namespace troupe::runtime
