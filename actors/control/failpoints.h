// Failures by name: where a run is to fail, for tests of what it does then.
//
// ROLE[/INDEX]@STEP:PHASE[#K]: actor INDEX (0) of a role, in the K-th (1) time that it comes to a
// phase of a step. Each fires once in a run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "actors/messages/role.h"

namespace troupe::actors {

enum class Fault : uint8_t {
  kill,   ///< the actor ends at once, like one that is killed
  fail,   ///< an exception: in an operator of the actor's lane, or in its handler
  drop,   ///< its answer never comes
  delay,  ///< its answer comes `delay` later
  flip,   ///< a bit of what it sends, or of the state or gradient that it holds, is another
  // Of the whole process that the actor is in:
  crash,     ///< SIGKILL
  segfault,  ///< SIGSEGV
  exit,      ///< it ends with code 1 and says goodbye to nobody
  freeze,    ///< SIGSTOP
  hang,      ///< the actor's handler never comes back; everything else of it goes on
  oom,       ///< it takes memory until the kernel kills it
  // Of what is around the run, for `delay`; whoever reads the witness does it (deploy/chaos):
  disk,    ///< the run folder's disk is full
  link,    ///< the cable of the process's host is cut
  oneway,  ///< what the process's host sends is lost, and it hears the others
};
constexpr int faults = 14;
const char* to_string(Fault fault);
/// Whether it is one of the whole process.
bool is_of_process(Fault fault);
/// Whether it is one of what is around the run: witnessed here, and done by others.
bool is_of_surroundings(Fault fault);
/// Whether only a deadline shows it. None has been measured in a run's first step, which would stand still for
/// minutes: no such failure is drawn for it.
bool shows_by_its_time(Fault fault);
/// Whether it takes some time: "+MILLISECONDS" behind its phase.
bool has_delay(Fault fault);

enum class Phase : uint8_t { begin, forward, backward, prepare, commit, apply, checkpoint };
const char* to_string(Phase phase);

/// Phases that a role comes to.
std::vector<Phase> phases_of(Role role);
/// Drop and delay are for roles whose answers go by a lane; flips for those that hold numbers; hangs
/// are not for those that wait for disks, which may take any time; full disks are for those alone, and cut
/// cables for crews, of which each process has one.
bool can_have(Role role, Fault fault);
/// A flip is of a message forward or backward, or of an optimizer shard's weights (begin) or
/// gradient (prepare).
bool can_flip(Role role, Phase phase);

struct Failpoint {
  Fault fault = Fault::kill;
  Role role = Role::stage;
  int index = 0;
  uint64_t step = 1;
  Phase phase = Phase::begin;
  int occurrence = 1;
  std::chrono::milliseconds delay{100};
};

/// One that fires at the first checkpoint from its step on: one is passed over while another is being
/// written.
bool is_at_checkpoint(const Failpoint& failpoint);

class FailpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws FailpointError: what was found, what was wanted.
Failpoint parse_failpoint(Fault fault, std::string_view text);
/// "kill expert_shard/1@7:forward": names it, and is its witness.
std::string to_string(const Failpoint& failpoint);
/// What that has made: "kill expert_shard/1@7:forward". Throws FailpointError.
Failpoint failpoint_of(std::string_view witness);

/// `count` different failures of these kinds over roles, indices, steps 1 to
/// `steps` and phases; a function of the seed. Flips are better not among them: they change the run's
/// numbers. Where a role cannot have a fault, it is killed. `counts[role]` is how many actors a role has.
struct RandomFailpointsArgs {
  uint64_t seed;
  int count;
  uint64_t steps;
  std::vector<int> counts;
  std::vector<Fault> kinds{Fault::kill};
  uint64_t checkpoint_every;  ///< steps; what happens at a checkpoint happens at these alone
};
std::vector<Failpoint> random_failpoints(const RandomFailpointsArgs& args);

/// The failpoints of a run. Thread-safe.
class Failpoints {
 public:
  Failpoints() = default;

  /// Those whose text is in `fired` have done their work in an earlier life of the run.
  void set(std::vector<Failpoint> failpoints, const std::vector<std::string>& fired);
  bool is_empty() const { return is_empty_; }
  /// Who does a fault of the whole process to it; unset: such a failpoint is witnessed and does nothing.
  /// Before any actor.
  std::function<void(Fault)> strike;

  struct Place {
    Role role;
    int index;
    uint64_t step;
    Phase phase;
  };
  /// The one that fires here now.
  std::optional<Failpoint> reached(const Place& place);
  /// One has fired in another process of the run.
  void fired(const std::string& witness);
  /// Texts of those that have not fired.
  std::vector<std::string> unfired();

 private:
  struct Armed {
    Failpoint failpoint;
    int times = 0;
    bool has_fired = false;
  };
  bool is_empty_ = true;
  std::mutex mutex_;
  std::vector<Armed> armed_;
};

}  // namespace troupe::actors
