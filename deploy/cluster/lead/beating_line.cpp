#include "deploy/cluster/lead/beating_line.h"

#include <unistd.h>

#include <chrono>
#include <csignal>

#include "runtime/cluster/watch/heartbeats.h"
#include "runtime/cluster/watch/urgent_thread.h"

namespace troupe::deploy {

BeatingLine::BeatingLine(int file) : file_(file) {
  if (file < 0) return;
  sigset_t all, before;  // signals are for threads that are started later
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread([this] {
    runtime::make_urgent();
    loop();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

BeatingLine::~BeatingLine() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  ended_.notify_all();
  thread_.join();
  say(end_of_beats);
}

/// A full pipe says as much.
void BeatingLine::say(char word) const { static_cast<void>(!::write(file_, &word, 1)); }

void BeatingLine::loop() {
  const std::chrono::duration<double> interval(runtime::Heartbeats::interval);
  std::unique_lock lock(mutex_);
  do {
    say(beat);
  } while (!ended_.wait_for(lock, interval, [this] { return is_over_; }));
}

}  // namespace troupe::deploy
