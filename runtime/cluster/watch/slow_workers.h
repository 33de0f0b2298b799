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
    double moved;       ///< named anew when its ratio is so many times what was said, or less by that
  };
  static constexpr Options usual{
      .steps = 31, .slow = 1.6, .deviations = 5, .well = 1.3, .moved = 1.5};

  explicit SlowWorkers(const Options& options) : options_(options) {}

  /// A process is named, anew too, or cleared.
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

  /// By process: the ratio that was said last of one that is slow, 1 of every other. So they move seldom,
  /// and only when something has been said, or somebody was forgotten.
  std::vector<double> paces() const;
  /// Who has been slow for so many steps behind the one that it was first named in.
  std::vector<int> slow_for(size_t steps) const;

 private:
  struct Process {
    std::deque<double> costs;
    bool is_slow = false;
    double said = 1;        // the ratio
    size_t slow_steps = 0;  // behind the one that it was named in
  };
  /// Whether something is to be said of it, and is then taken for said.
  bool changes(Process& process, double ratio, bool is_far) const;

  const Options options_;
  std::vector<Process> processes_;
};

}  // namespace troupe::runtime
