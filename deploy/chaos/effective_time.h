// How much of a run's time went into steps that the run kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "runtime/proto/events.pb.h"

namespace troupe::deploy {

struct EffectiveTime {
  uint64_t steps = 0;       ///< that the run has
  double step_seconds = 0;  ///< median of those that nothing disturbed
  double wall_seconds = 0;  ///< from the run's first event to its last

  /// As if every step had taken the median: what disturbs a machine for long disturbs both. 0 without
  /// steps.
  double share() const {
    return wall_seconds > 0 ? static_cast<double>(steps) * step_seconds / wall_seconds : 0;
  }
};

/// One step as metrics have it.
struct StepTime {
  uint64_t step;
  double seconds;
  uint32_t attempts;
};

EffectiveTime effective_time(const std::vector<StepTime>& steps,
                             const std::vector<wire::Event>& events);

/// Of a run folder. Throws std::runtime_error if its metrics cannot be read.
EffectiveTime effective_time_of(const std::filesystem::path& run_folder);

}  // namespace troupe::deploy
