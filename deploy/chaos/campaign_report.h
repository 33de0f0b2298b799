// What a campaign of failures came to, from the events of its run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/control/failpoints.h"
#include "deploy/chaos/effective_time.h"
#include "runtime/proto/events.pb.h"

namespace troupe::deploy {

/// One failure that was witnessed.
struct FaultOutcome {
  actors::Failpoint failpoint;
  std::optional<double> detected_ms{};  ///< until the loss of its process, or the end of its actor, was known
  std::optional<double> again_ms{};     ///< until a step was begun again with all blocks in place
  int begun_again = 0;                ///< steps, until the next failure
  bool lost_state = false;            ///< all copies of some block: counted apart
  bool lacked_memory = false;         ///< the kernel ended its process for that
  bool was_overtaken = false;         ///< by another failure of a process, before its own was noticed
};

struct CampaignResult {
  std::vector<FaultOutcome> outcomes;
  std::vector<std::string> unwitnessed;  ///< failpoints that did not fire, or whose work nobody saw
  std::string quiet_hash, hash;          ///< of the last state
  int exit_code = 0;                     ///< of the run with failures
  double seconds = 0, quiet_seconds = 0;
  EffectiveTime quiet_time{}, time{};
  /// The same failures in a run without copies of its state, begun again from its newest checkpoint after
  /// each; if it was asked for.
  struct Restarts {
    int count = 0;  ///< times that the program was started again
    std::string hash;
    EffectiveTime time{};
  };
  std::optional<Restarts> restarts{};

  bool is_good() const;
};

/// Failures in the order of their witnesses, which stand far enough apart for all that follows one to
/// be its own.
std::vector<FaultOutcome> outcomes_of(const std::vector<wire::Event>& events);

/// Failpoints that fired, and after which the kernel ended nobody for lack of memory as they wanted; but for so many
/// ends on other hosts, which the process that leads does not see, and for those that were overtaken: a process that is
/// running out of memory may be stopped, or run out of it a second time, in the next step's failure.
std::vector<std::string> without_lack_of_memory(const std::vector<FaultOutcome>& outcomes,
                                                uint64_t kills_elsewhere);

/// The rows kind, role and phase with count, detection, recovery, steps begun again; the totals.
std::string campaign_table(const CampaignResult& result);
std::string campaign_json(const CampaignResult& result);

/// How many of the recoveries of whole processes took at most how long: a whole SVG file.
std::string recovery_svg(const std::vector<FaultOutcome>& outcomes);

}  // namespace troupe::deploy
