// The process that `troupe train` is, when the run has others: it starts the one that leads, and
// another in its place when that is lost. It has no thread, no actor and no say in the run.
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace troupe::deploy {

/// What a supervisor knows of the run.
struct SupervisedRun {
  std::string goes_on;  ///< how to go on with it
  bool starts_nodes;    ///< its leaders do: they are of no use when none follows
};

/// One of those that lead a run, one behind the other.
class LeaderLife {
 public:
  LeaderLife() = default;

  bool is_first() const { return number_ == 1; }
  /// The one before was lost with all that it held: what has become of it. Empty: it was not, and
  /// its nodes have ended.
  const std::string& loss() const { return loss_; }
  /// Of the run; 0: as it was planned at first.
  int processes() const { return processes_; }
  /// When that was noticed, in microseconds since 1970.
  uint64_t loss_us() const { return loss_us_; }
  /// What made the one before the leader where a lease does (runtime/cluster/lease/lease_rules.h); 0: nothing, or
  /// it was fenced.
  int64_t held_revision() const { return held_revision_; }
  /// The one before could not go on with the nodes that it had; others may.
  bool is_behind_others() const { return is_behind_others_; }
  /// This makes it the leader now.
  void holds(int64_t revision) const;
  /// The same, where it goes on with so many processes: nothing was lost.
  LeaderLife with_processes(int processes) const;
  /// The run has so many processes now: so will it under whoever leads next.
  void has_processes(int processes) const;
  /// A step is done. The supervisor ends a run whose leaders are lost again and again without one.
  void step_done() const;

 private:
  friend class LeaderSupervisor;
  friend void supervise_leader(const SupervisedRun& run, const std::function<void(const LeaderLife&)>& lead);
  void say(char word) const;
  void say(char word, int64_t number) const;
  int number_ = 1;
  std::string loss_;
  int processes_ = 0;
  uint64_t loss_us_ = 0;
  int64_t held_revision_ = 0;
  bool is_behind_others_ = false;
  mutable bool is_held_ = false;
  mutable int64_t holding_ = 0;  // what makes it the leader
  int line_ = -1;  // to the supervisor
};

/// The run cannot go on with what its processes hold: another leader begins at the newest
/// checkpoint.
class BeginAgain : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Another leads the run, or may: this one only stands by, in a new process.
class Fenced : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The supervisor's end, when that of the leader was its own: with its exit code.
class LeaderEnded : public std::exception {
 public:
  explicit LeaderEnded(int exit_code) : exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }
  const char* what() const noexcept override { return "the process that led the run has ended"; }

 private:
  const int exit_code_;
};

/// Calls `lead` in a process of its own, which returns from here, or throws, what it does; again in
/// another one when that process is lost, or throws BeginAgain or Fenced. The process that has called this
/// only watches, passes signals on, and ends by LeaderEnded. It may have no thread but this; what
/// it holds is there in every life of the leader. If it is killed, the leader is killed too, and
/// its nodes end. Throws StoppedBySignal when one that was told to stop is lost in another way.
void supervise_leader(const SupervisedRun& run, const std::function<void(const LeaderLife&)>& lead);

}  // namespace troupe::deploy
