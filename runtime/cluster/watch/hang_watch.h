// Looks at what the actors of its own process are at, from outside of them (glass law): what hangs
// cannot be interrupted, so the process is what has to go (supervision law).
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/cluster/watch/hang_judge.h"
#include "runtime/telemetry/cells.h"

namespace troupe::runtime {

class HangWatch {
 public:
  struct Args {
    const Glass& glass;   ///< outlives this
    double first_limit;  ///< seconds, until a usual step is known
    std::function<double()> step;  ///< seconds of a usual one; 0: not known
    /// On a thread of this object, which runs before others.
    std::function<void(const std::string& what)> hangs;
  };
  explicit HangWatch(Args args);
  ~HangWatch();
  HangWatch(const HangWatch&) = delete;
  HangWatch& operator=(const HangWatch&) = delete;

  static constexpr double interval = 0.25;  ///< seconds between looks
  /// Busy processors stretch everything at once, and rare work (a state's hashes, its way to a
  /// checkpoint) takes longer than a step's: ten times what was seen is neither.
  static constexpr double least = 3, times = 10, steps = 5;

 private:
  void loop();

  const Glass& glass_;
  const std::function<double()> step_;
  const std::function<void(const std::string&)> hangs_;
  HangJudge judge_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace troupe::runtime
