// Ctrl-C and its like: the first ends a run after the step under way, the second at once.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace troupe::deploy {

/// A run that ended early because it was told to, with everything it had done on the disk.
class StoppedBySignal : public std::runtime_error {
 public:
  StoppedBySignal(int signal, const std::string& text)
      : std::runtime_error(text), signal_(signal) {}
  /// What a shell expects of a program that a signal ended.
  int exit_code() const { return 128 + signal_; }

 private:
  const int signal_;
};

/// Takes SIGINT, SIGTERM and SIGHUP, those that are not ignored, from the whole process: threads
/// made while it lives do not see them. SIGPIPE is ignored from then on; writers see the error.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Called once, on another thread, at the first signal; at once, here, if it has come already.
  /// Empty: nobody is told any more, and nobody is being told when this returns.
  /// It may ask what was received.
  void on_stop(std::function<void()> stop);
  /// As if `signal` had come; more of them do nothing.
  void request(int signal);
  /// The first signal; 0: none has come.
  int received() const { return received_; }

 private:
  void watch();

  std::mutex mutex_;
  std::function<void()> stop_;
  std::atomic<int> received_{0};
  sigset_t taken_{};
  sigset_t before_{};  // the mask to restore
  int signals_ = -1;   // signalfd
  int end_ = -1;       // eventfd: the watching thread shall end
  std::thread thread_;
};

/// "SIGINT".
std::string signal_name(int signal);

}  // namespace troupe::deploy
