// Who of the processes that give signs of life does not give them any more. Times are seconds of
// one clock, which is not in here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/cluster/watch/failure_detector.h"

namespace troupe::runtime {

/// A process is silent for longer than one that lives would be. Times in seconds.
struct Suspicion {
  int process;
  uint32_t life;
  double phi;
  double silence;          ///< since its last sign
  double mean, deviation;  ///< of the times between its signs
};
/// "silent for 0.72 s (phi 8.0; heartbeats came every 0.100 s, deviation 0.030 s)".
std::string describe(const Suspicion& suspicion);

class HeartbeatJudge {
 public:
  struct Options {
    FailureDetector::Options detector;
    double threshold;  ///< of phi
    double patience;   ///< seconds within which somebody who is watched is to be heard first
  };
  explicit HeartbeatJudge(const Options& options) : options_(options) {}

  /// In the place of who had that number.
  void watch(int process, uint32_t life, double now);
  void forget(int process) { peers_.erase(process); }

  /// A sign of life, signs counted by their sender. False, and no sign: nobody watches that life of
  /// that process, or it is no newer than another.
  bool hear(int process, uint32_t life, uint64_t number, double now);

  struct Verdict {
    std::vector<Suspicion> suspected;
    std::vector<int> unheard;  ///< nothing has ever come of them
  };
  /// Each is named once a life.
  Verdict judge(double now);

 private:
  struct Peer {
    uint32_t life;
    double since;
    FailureDetector detector;
    uint64_t newest = 0;  // number of the last sign; 0: none
    bool is_named = false;
  };

  const Options options_;
  std::map<int, Peer> peers_;
};

}  // namespace troupe::runtime
