#include "runtime/cluster/watch/heartbeats.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/urgent_thread.h"

namespace troupe::runtime {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Signs of many peers that came at once are heard before anybody is judged, but not for ever.
constexpr int most_at_once = 10'000;

}  // namespace

Heartbeats::Heartbeats(Args args)
    : process_(args.process),
      life_(args.life),
      seal_(std::move(args.seal)),
      events_(std::move(args.events)),
      socket_(args.at),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_ < 0) throw ClusterError("cannot make an event descriptor");
  telling_ = std::thread([this] { tell_loop(); });
  beating_ = std::thread([this] {
    make_urgent();
    beat_loop();
  });
}

Heartbeats::~Heartbeats() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  wake();
  changed_.notify_all();
  beating_.join();
  telling_.join();
  ::close(wake_);
}

void Heartbeats::wake() {
  const uint64_t one = 1;
  static_cast<void>(!::write(wake_, &one, sizeof one));
}

void Heartbeats::watch(int process, uint32_t life, const std::optional<Endpoint>& to) {
  std::optional<DatagramSocket::Address> way;
  if (to) way = socket_.find(*to);
  {
    std::lock_guard lock(mutex_);
    judge_.watch(process, life, now_);
    ways_[process] = way;
  }
  wake();
}

void Heartbeats::forget(int process) {
  std::lock_guard lock(mutex_);
  judge_.forget(process);
  ways_.erase(process);
}

void Heartbeats::beat_loop() {
  AwakeClock clock(3 * look_interval);
  double next_sign = 0;
  while (true) {
    pollfd files[] = {{socket_.file(), POLLIN, 0}, {wake_, POLLIN, 0}};
    const double left = std::clamp(next_sign - steady_seconds(), 0.0, look_interval);
    ::poll(files, 2, static_cast<int>(std::ceil(1000 * left)));
    uint64_t woken = 0;
    if (files[1].revents != 0) static_cast<void>(!::read(wake_, &woken, sizeof woken));
    const double seconds = steady_seconds();
    std::lock_guard lock(mutex_);
    if (is_over_) return;
    now_ = clock.look(seconds);
    const bool has_found_somebody = hear();
    if (woken != 0 || has_found_somebody || seconds >= next_sign) {
      send_all();
      next_sign = seconds + interval;
    }
    HeartbeatJudge::Verdict verdict = judge_.judge(now_);
    if (verdict.suspected.empty() && verdict.unheard.empty()) continue;
    for (const Suspicion& one : verdict.suspected) verdict_.suspected.push_back(one);
    for (const int process : verdict.unheard) verdict_.unheard.push_back(process);
    changed_.notify_all();
  }
}

/// True: it is known now where somebody is. Who is answered at once can notice from then on that this process
/// falls silent.
bool Heartbeats::hear() {
  bool has_found_somebody = false;
  for (int i = 0; i < most_at_once; ++i) {
    const auto datagram = socket_.receive();
    if (!datagram) break;
    const auto sign = seal_.open(datagram->bytes);
    if (sign && judge_.hear(sign->process(), sign->life(), sign->number(), now_)) {
      auto& way = ways_[sign->process()];
      has_found_somebody = has_found_somebody || !way;
      way = datagram->from;
    }
  }
  return has_found_somebody;
}

void Heartbeats::send_all() {
  wire::Heartbeat sign;
  sign.set_process(process_);
  sign.set_life(life_);
  sign.set_number(++number_);
  const std::string datagram = seal_.seal(sign);
  for (const auto& [process, way] : ways_) {
    if (way) socket_.send(*way, datagram);
  }
}

void Heartbeats::tell_loop() {
  while (true) {
    HeartbeatJudge::Verdict verdict;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return is_over_ || !verdict_.suspected.empty() || !verdict_.unheard.empty();
      });
      if (is_over_) return;
      verdict = std::exchange(verdict_, {});
    }
    for (const Suspicion& one : verdict.suspected) {
      if (events_.suspected) events_.suspected(one);
    }
    for (const int process : verdict.unheard) {
      if (events_.unheard) events_.unheard(process);
    }
  }
}

}  // namespace troupe::runtime
