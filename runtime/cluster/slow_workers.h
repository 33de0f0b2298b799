// Which processes of a run compute more slowly than the others. Robust: medians, so that one odd
// step or one odd process moves nothing; with hysteresis, so that nobody is named and cleared in
// turn. No clock is in here.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

namespace troupe::runtime {

class SlowWorkers {
 public:
  struct Options {
    size_t steps;       ///< of whose times the median is taken; less are no judgement
    double slow;        ///< named from so many times the others' median on, and
    double deviations;  ///< so many times their median absolute deviation, as a normal one's,
                        ///< beyond it
    double well;        ///< cleared below so many times it
  };
  static constexpr Options usual{.steps = 31, .slow = 1.6, .deviations = 5, .well = 1.3};

  explicit SlowWorkers(const Options& options) : options_(options) {}

  /// A process is named, or cleared.
  struct Change {
    int process;
    bool is_slow;
    double ratio;  ///< its median to that of the others
  };
  /// A step's costs by process: seconds that it computed for each unit of its work, with any unit;
  /// 0: not known of this step.
  std::vector<Change> hear(std::span<const double> costs);
  /// Another stands in its place.
  void forget(int process);

 private:
  struct Process {
    std::deque<double> costs;
    bool is_slow = false;
  };

  const Options options_;
  std::vector<Process> processes_;
};

}  // namespace troupe::runtime
