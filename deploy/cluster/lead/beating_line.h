#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace troupe::deploy {

/// Says over a pipe that this process runs, as heartbeats do (runtime/cluster/watch/heartbeats.h), on a
/// thread of its own while it lives.
class BeatingLine {
 public:
  static constexpr char beat = 'b', end_of_beats = 'q';

  /// The file does not block. Less than 0: nobody is told.
  explicit BeatingLine(int file);
  /// Says that silence is meant from now on.
  ~BeatingLine();
  BeatingLine(const BeatingLine&) = delete;
  BeatingLine& operator=(const BeatingLine&) = delete;

 private:
  void say(char word) const;
  void loop();

  const int file_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace troupe::deploy
