#include "runtime/cluster/watch/heartbeat_judge.h"

#include <cstdio>

namespace troupe::runtime {

std::string describe(const Suspicion& suspicion) {
  char text[160];
  std::snprintf(text, sizeof text,
                "silent for %.2f s (phi %.1f; heartbeats came every %.3f s, deviation %.3f s)",
                suspicion.silence, suspicion.phi, suspicion.mean, suspicion.deviation);
  return text;
}

void HeartbeatJudge::watch(int process, uint32_t life, double now) {
  peers_.erase(process);
  peers_.emplace(process,
                 Peer{.life = life, .since = now, .detector = FailureDetector(options_.detector)});
}

bool HeartbeatJudge::hear(int process, uint32_t life, uint64_t number, double now) {
  const auto place = peers_.find(process);
  if (place == peers_.end()) return false;
  Peer& peer = place->second;
  if (peer.life != life || number <= peer.newest) return false;
  peer.newest = number;
  if (!peer.is_named) peer.detector.heard(now);
  return true;
}

HeartbeatJudge::Verdict HeartbeatJudge::judge(double now) {
  Verdict verdict;
  for (auto& [process, peer] : peers_) {
    if (peer.is_named) continue;
    if (peer.newest == 0) {
      if (now - peer.since < options_.patience) continue;
      peer.is_named = true;
      verdict.unheard.push_back(process);
      continue;
    }
    const double phi = peer.detector.phi(now);
    if (phi < options_.threshold) continue;
    peer.is_named = true;
    verdict.suspected.push_back({.process = process,
                                 .life = peer.life,
                                 .phi = phi,
                                 .silence = peer.detector.silence(now),
                                 .mean = peer.detector.mean(),
                                 .deviation = peer.detector.deviation()});
  }
  return verdict;
}

}  // namespace troupe::runtime
