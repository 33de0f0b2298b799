// Signs of life between the processes of a run. They go by datagrams, on a socket and a thread of
// their own that runs before others: neither large messages nor busy processors hold them up, and
// one that is lost does not hold up the next. So they say that a process runs, not that its actors
// get on: what hangs in an actor is found by the deadlines of requests.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "runtime/cluster/watch/datagram_socket.h"
#include "runtime/cluster/watch/heartbeat_judge.h"
#include "runtime/cluster/watch/heartbeat_seal.h"

namespace troupe::runtime {

class Heartbeats {
 public:
  /// On a thread of this object, which may be held up. Each once for a life of a process.
  struct Events {
    std::function<void(const Suspicion&)> suspected;
    std::function<void(int process)> unheard;  ///< nothing has come of it within `patience`
  };
  struct Args {
    int process;  ///< this one
    uint32_t life;
    HeartbeatSeal seal;
    Endpoint at;  ///< where signs are waited for; port 0: any that is free
    Events events;
  };
  /// Throws ClusterError: the address is none of this machine's.
  explicit Heartbeats(Args args);
  ~Heartbeats();
  Heartbeats(const Heartbeats&) = delete;
  Heartbeats& operator=(const Heartbeats&) = delete;

  uint16_t port() const { return socket_.port(); }

  /// From now on a process gets signs and is judged, in the place of who had its number. Without an
  /// address it gets them where its own come from. Throws ClusterError: there is no such host.
  void watch(int process, uint32_t life, const std::optional<Endpoint>& to);
  void forget(int process);

  static constexpr double interval = 0.1;        ///< seconds between signs
  static constexpr double look_interval = 0.02;  ///< seconds between looks, at most
  /// Even signs that stop are suspected after 0.72 s. A pause of 0.45 s is what a queue of a full
  /// cable or an outage of two polls of a busy machine make; beyond it the window decides.
  static constexpr HeartbeatJudge::Options judgement{.detector = {.first_interval = interval,
                                                                  .window = 600,
                                                                  .least_deviation = 0.03,
                                                                  .acceptable_pause = 0.45},
                                                     .threshold = 8,
                                                     .patience = 10};

 private:
  void beat_loop();
  bool hear();
  void send_all();
  void tell_loop();
  void wake();

  const int process_;
  const uint32_t life_;
  const HeartbeatSeal seal_;
  const Events events_;
  const DatagramSocket socket_;
  const int wake_;  // eventfd: the beating thread shall look again
  uint64_t number_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  HeartbeatJudge judge_{judgement};
  std::map<int, std::optional<DatagramSocket::Address>> ways_;  // by process; none: not known yet
  HeartbeatJudge::Verdict verdict_;                             // not told yet
  double now_ = 0;                                              // seconds that count
  bool is_over_ = false;
  std::thread beating_, telling_;
};

}  // namespace troupe::runtime
