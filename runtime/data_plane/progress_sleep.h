// How a thread that looks for work goes to sleep, and who wakes it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

namespace troupe::runtime {

/// How long to go on looking for work before sleeping. Looking that found nothing halves it, work
/// that came while looking, or soon after, brings it back: who waits for long does not look for
/// long.
class SpinBudget {
 public:
  explicit SpinBudget(std::chrono::nanoseconds most) : most_(most), now_(most) {}

  std::chrono::nanoseconds now() const { return now_; }
  /// Looked for the whole time, in vain.
  void found_nothing() { now_ = now_ / 2 < most_ / 16 ? most_ / 16 : now_ / 2; }
  /// Work came so long after the last one.
  void found_work(std::chrono::nanoseconds after) {
    if (after <= 2 * most_) now_ = most_;
  }

 private:
  const std::chrono::nanoseconds most_;
  std::chrono::nanoseconds now_;
};

/// How long to sleep when the transport may go on without announcing it: after work first for a
/// moment, then for longer and longer, and without end once nothing is under way.
class NapLength {
 public:
  void found_work() { next_ = shortest; }
  /// Empty: without end.
  std::optional<std::chrono::nanoseconds> next(bool is_under_way) {
    if (next_ > longest && !is_under_way) return {};
    const auto now = std::min(next_, longest);
    next_ = std::min(2 * next_, 2 * longest);
    return now;
  }

 private:
  static constexpr std::chrono::nanoseconds shortest = std::chrono::microseconds(50);
  static constexpr std::chrono::nanoseconds longest = std::chrono::milliseconds(5);
  std::chrono::nanoseconds next_ = shortest;
};

/// Sleep that other threads can end, and what a file descriptor of the transport announces.
class Sleeper {
 public:
  /// Throws DataPlaneError when the system gives no more files.
  Sleeper();
  ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  /// The transport's file becomes readable when there is something. Throws as above.
  void watch(int file);

  /// From any thread, after work has been left where the sleeper looks.
  void wake();

  /// To be followed by a last look for work, then by sleep() or stay_awake().
  void lie_down() { is_asleep_.store(true); }
  void stay_awake() { is_asleep_.store(false); }
  /// Until woken, until the transport has something, or for as long.
  void sleep(std::optional<std::chrono::nanoseconds> longest);

 private:
  std::atomic<bool> is_asleep_{false};
  int wake_file_ = -1;
  int poll_file_ = -1;
};

}  // namespace troupe::runtime
