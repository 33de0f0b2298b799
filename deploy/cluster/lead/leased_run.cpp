#include "deploy/cluster/lead/leased_run.h"

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <set>
#include <thread>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/join/secret.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

using namespace std::chrono_literals;
using runtime::ClusterError;
using runtime::LeaseRules;
using runtime::LeaseView;
using Clock = std::chrono::steady_clock;

/// How often a standby looks.
constexpr auto look_time = 100ms;
/// So often a run is begun for which etcd gives no answer.
constexpr int most_tries = 3;
/// What each standby leaves to those before it.
constexpr double turn_seconds = 0.5;

/// Of who has lost its nodes: whoever can reach them is to lead.
constexpr int last_priority = 1 << 20;

std::string host_name() {
  char host[256] = {};
  return ::gethostname(host, sizeof host - 1) == 0 ? host : "";
}

wire::LeaseHolder holder_at(const std::string& address, const std::string& id) {
  wire::LeaseHolder holder;
  holder.set_address(address);
  holder.set_host(host_name());
  holder.set_pid(static_cast<uint64_t>(::getpid()));
  holder.set_id(id);
  return holder;
}

std::string new_id() { return runtime::hexadecimal(runtime::random_nonce()); }

std::string name_of(const wire::LeaseHolder& holder) {
  return "process 0 of term " + std::to_string(holder.term()) + " (" + holder.host() + ", pid " +
         std::to_string(holder.pid()) + ", at " + holder.address() + ")";
}

/// A process that waits for the lease.
class Candidacy {
 public:
  /// `predecessor`: revision of a holder of the lease in whose place this process is, if that still holds it.
  Candidacy(const LeasedRun::Args& args, const LeasedRun::Candidate& candidate, bool goes_on_behind_end,
            int64_t predecessor)
      : args_(args), candidate_(candidate), rules_(args.place.rules()), client_(args.place.client()),
        goes_on_behind_end_(goes_on_behind_end), id_(new_id()), predecessor_(predecessor) {
    for (const auto& [step, hash] : candidate.history.hashes) hashes_.insert(step);
    next_hash_ = first_hash_missing();
  }

  /// None: not yet.
  std::optional<Mandate> try_once() {
    if (!lease_ || !lease_->loss().empty()) stand_by();
    const LeaseView view = read(next_hash_);
    if (const auto term = LeaseRules::is_held(view, id_)) return mandate(*term);
    if (view.end && !goes_on_behind_end_) return ended(*view.end);
    if (view.holder) before_ = view;
    if (view.holder && view.holder_revision != predecessor_) {
      vacant_since_.reset();
      say("standing by: " + (view.leader() ? name_of(*view.leader()) + " leads"
                                           : view.holder->host() + " is about to lead for the first time"));
      return std::nullopt;
    }
    if (!vacant_since_) vacant_since_ = Clock::now();
    const std::chrono::duration<double> vacant = Clock::now() - *vacant_since_;
    const bool is_heir = view.holder && view.holder_revision == predecessor_;
    if (!is_heir && !runtime::is_turn_of(id_, view.standbys, vacant.count(), turn_seconds)) {
      return std::nullopt;
    }
    return claim(view, is_heir);
  }

  void say(const std::string& what) {
    if (std::exchange(said_, what) != what) std::cout << "note: " << what << std::endl;
  }

 private:
  void stand_by() {
    lease_.reset();
    lease_ = std::make_unique<runtime::KeptLease>(args_.place);
    vacant_since_.reset();
    wire::StandbyFacts facts;
    const bool is_standby = args_.part == LeasedRun::Part::stands_by;
    facts.set_priority(candidate_.life.is_behind_others() ? last_priority
                       : is_standby                       ? args_.priority
                                                          : 0);
    facts.set_host(host_name());
    facts.set_pid(static_cast<uint64_t>(::getpid()));
    client_.run(rules_.stand_by(id_, facts, lease_->id()));
  }

  /// All that stands there, with commits and hashes that are not at hand. Hashes come in the order of their
  /// steps, but for those that a new leader makes in a replay: who leads reads from the first that is missing.
  LeaseView read(uint64_t hash_step) {
    next_hash_ = hash_step;
    while (true) {
      auto& commits = candidate_.history.commits;
      const uint64_t next = commits.size() + 1;
      LeaseView view = rules_.view_of(client_.run(rules_.look_from(next, next_hash_)), next);
      for (wire::StepRecord& record : view.commits) {
        wire::JournalEntry entry;
        *entry.mutable_commit() = record;
        missing_.push_back(std::move(entry));
        commits.push_back(std::move(record));
      }
      for (const auto& [step, hash] : view.hashes) {
        if (!hashes_.insert(step).second) continue;
        candidate_.history.hashes[step] = hash;
        wire::JournalEntry entry;
        entry.mutable_applied()->set_step(step);
        entry.mutable_applied()->set_hash(hash);
        missing_.push_back(std::move(entry));
      }
      if (!view.hashes.empty()) next_hash_ = view.hashes.rbegin()->first + 1;
      if (view.commits.empty() && view.hashes.empty()) return view;
    }
  }

  uint64_t first_hash_missing() const {
    uint64_t step = 1;
    while (hashes_.contains(step)) ++step;
    return step;
  }

  std::optional<Mandate> claim(const LeaseView& view, bool is_heir) {
    wire::LeaseHolder holder = holder_at(candidate_.address, id_);
    holder.set_term(LeaseRules::next_term(view, candidate_.history.last_term));
    const bool is_planned_here = is_heir || goes_on_behind_end_ || !view.last;
    holder.set_processes(is_planned_here ? candidate_.processes : view.last->processes());
    holder.set_cores(is_planned_here ? candidate_.cores : view.last->cores());
    before_ = view;
    is_heir_ = is_heir;
    const runtime::EtcdAnswer answer = client_.run(
        rules_.claim({view, is_heir ? predecessor_ : 0, holder, lease_->id(), goes_on_behind_end_}));
    if (!answer.holds) return std::nullopt;
    return mandate({holder.term(), answer.revision});
  }

  /// Nobody commits any more but this process: what is read now is all.
  Mandate mandate(const runtime::LeaderTerm& term) {
    candidate_.life.holds(term.revision);
    read(first_hash_missing());
    Mandate mandate;
    mandate.leadership =
        std::make_unique<runtime::Leadership>(args_.place, std::move(lease_), term);
    mandate.missing = std::move(missing_);
    const LeaderLife& life = candidate_.life;
    if (is_heir_ && before_->last) {  // else nobody has led yet
      mandate.loss = life.loss();
      mandate.loss_us = life.loss_us();
      return mandate;
    }
    if (goes_on_behind_end_ || !before_ || !before_->last) return mandate;
    mandate.loss = name_of(*before_->last) + ", which led the run, has lost its lease";
    mandate.loss_us = runtime::unix_us();
    mandate.processes = before_->last->processes();
    mandate.cores = before_->last->cores();
    return mandate;
  }

  Mandate ended(const wire::LeasedEnd& end) {
    if (end.has_failed()) throw std::runtime_error("the run has ended elsewhere: " + end.text());
    Mandate mandate;
    mandate.end = end.text();
    return mandate;
  }

  const LeasedRun::Args& args_;
  const LeasedRun::Candidate& candidate_;
  const LeaseRules rules_;
  runtime::EtcdClient client_;
  const bool goes_on_behind_end_;
  const std::string id_;
  const int64_t predecessor_;
  std::set<uint64_t> hashes_;  // at hand, by step
  uint64_t next_hash_ = 1;     // step from which they are read
  std::vector<wire::JournalEntry> missing_;
  std::unique_ptr<runtime::KeptLease> lease_;
  std::optional<LeaseView> before_;  // this process led
  bool is_heir_ = false;
  std::optional<Clock::time_point> vacant_since_;
  std::string said_;
};

}  // namespace

runtime::LeasePlace lease_place(const config::Cluster::Lease& lease) {
  runtime::LeasePlace place{{}, lease.name(), lease.seconds()};
  const std::string scheme = "http://";
  for (const std::string& url : lease.etcd()) {
    place.servers.push_back(runtime::parse_endpoint(url.substr(scheme.size())));
  }
  return place;
}

LeasedRun::LeasedRun(const Args& args) : args_(args) {
  const LeaseRules rules = args.place.rules();
  runtime::EtcdClient client = args.place.client();
  LeaseView view = rules.view_of(client.run(rules.look()));
  if (view.run && args.part == Part::begins) {
    throw ClusterError(args.place.describe() + " has a run of the name " + args.place.name +
                       " already; wanted another cluster.lease.name, --resume or --standby");
  }
  if (!view.run && args.part == Part::stands_by) {
    std::cout << "note: standing by: no run of the name " << args.place.name << " has begun" << std::endl;
  }
  std::string trouble;
  while (!view.run && args.part == Part::stands_by) {
    std::this_thread::sleep_for(look_time);
    try {
      view = rules.view_of(client.run(rules.look()));
      trouble.clear();
    } catch (const ClusterError& error) {  // it is there for times in which things do not work
      if (std::exchange(trouble, error.what()) == error.what()) continue;
      std::cout << "note: waiting for etcd: " << error.what() << std::endl;
    }
  }
  if (view.run && view.run->recipe() != args.recipe) {
    throw ClusterError("the run " + args.place.name + " of " + args.place.describe() +
                       " has another recipe, model or data than this one: all who may lead it need the "
                       "same, also the same train.steps, parallel and cluster.redundancy");
  }
  is_new_ = !view.run;
  if (view.run) run_ = *view.run;
  if (is_new_) {
    run_.set_nonce(new_id());
    run_.set_recipe(args.recipe);
  }
  has_ended_ = args.part == Part::resumes && view.end.has_value();
}

void LeasedRun::prove(const runtime::Secret& secret) {
  const std::string proof = secret.prove("troupe run", run_.nonce(), "all who may lead");
  if (is_new_) run_.set_proof(proof);
  if (!run_.proof().empty() && run_.proof() != proof) {
    throw ClusterError("the run " + args_.place.name + " of " + args_.place.describe() +
                       " has another cluster secret than this one (TROUPE_SECRET, or the file of --secret): "
                       "all who may lead it need the same");
  }
}

void LeasedRun::begin(const std::string& address) {
  if (!is_new_) return;
  runtime::EtcdClient client = args_.place.client();
  const wire::LeaseHolder beginner = holder_at(address, new_id());  // of term 0
  for (int tries = most_tries; tries > 0; --tries) {
    try {
      const int64_t lease = client.grant(args_.place.seconds);  // nobody keeps it alive: it ends, or is followed
      const runtime::EtcdAnswer answer = client.run(args_.place.rules().begin(run_, beginner, lease));
      if (const auto revision = LeaseRules::begun(answer, run_, beginner)) {
        begun_revision_ = *revision;
        return;
      }
      break;
    } catch (const ClusterError&) {  // it may have begun
      if (tries == 1) throw;
    }
  }
  throw ClusterError("somebody else has begun a run of the name " + args_.place.name + " in " +
                     args_.place.describe());
}

Mandate LeasedRun::lead(const Candidate& candidate) const {
  const int64_t held = candidate.life.held_revision();
  Candidacy candidacy(args_, candidate, has_ended_ && candidate.life.is_first(), held ? held : begun_revision_);
  while (true) {
    try {
      if (auto mandate = candidacy.try_once()) return std::move(*mandate);
    } catch (const ClusterError& error) {
      candidacy.say(std::string("waiting for etcd: ") + error.what());
    }
    std::this_thread::sleep_for(look_time);
  }
}

}  // namespace troupe::deploy
