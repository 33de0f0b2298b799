// Whether an actor of this process hangs: in one message, or behind its own lane, for longer than
// anything that this process has done. Times are seconds of one clock, which is not in here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace troupe::runtime {

/// Something that an actor is at.
struct Occupation {
  std::string actor;  ///< "expert_shard/0.0.1"
  std::string what;   ///< "forward", "its lane"
  uint64_t id;        ///< another one has another, of one actor
  uint64_t step;      ///< that the actor is at
};

struct Hang {
  Occupation at;
  double seconds;
  double limit;
};
/// "expert_shard/0.0.1 has been at forward of step 12 for 6.2 s (limit 6.0 s, from measured times)".
std::string describe(const Hang& hang);

/// The limit follows what has been measured: `times` the longest occupation that has come to its end,
/// `steps` usual steps, and `least`. Until a usual step is known there is nothing to go
/// by, and the limit is `first`.
class HangJudge {
 public:
  struct Options {
    double first;  ///< seconds
    double least;  ///< likewise
    double times;
    double steps;
  };
  explicit HangJudge(const Options& options) : options_(options) {}

  /// What everybody is at, at `now`; a usual step takes `step` s, 0: not known. Who
  /// hangs, each occupation named once.
  std::optional<Hang> look(std::span<const Occupation> occupations, double step, double now);

 private:
  struct Seen {
    uint64_t id;
    double since, last;
    bool is_named;
  };
  double limit(double step) const;

  const Options options_;
  std::map<std::string, Seen> seen_;  // by actor and what it is at
  double longest_ = 0;                // that has ended
};

}  // namespace troupe::runtime
