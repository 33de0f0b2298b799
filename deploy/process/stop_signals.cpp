#include "deploy/process/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>
#include <system_error>

namespace troupe::deploy {
namespace {

/// A signal from outside and the same from the parent within this time are one.
constexpr std::chrono::seconds one_stop{1};

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&taken_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&taken_, signal);  // nohup, or a shell's background
  }
  std::signal(SIGPIPE, SIG_IGN);
  signals_ = ::signalfd(-1, &taken_, SFD_CLOEXEC);
  end_ = ::eventfd(0, EFD_CLOEXEC);
  if (signals_ < 0 || end_ < 0) {
    throw std::system_error(errno, std::generic_category(), "signals cannot be watched");
  }
  pthread_sigmask(SIG_BLOCK, &taken_, &before_);
  thread_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  ::eventfd_write(end_, 1);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  ::close(signals_);
  ::close(end_);
}

void StopSignals::on_stop(std::function<void()> stop) {
  const std::lock_guard lock(mutex_);
  stop_ = std::move(stop);
  if (stop_ && received_ != 0) stop_();
}

void StopSignals::request(int signal) {
  const std::lock_guard lock(mutex_);
  if (received_ != 0) return;
  received_ = signal;
  if (stop_) stop_();
}

void StopSignals::watch() {
  pollfd files[] = {{signals_, POLLIN, 0}, {end_, POLLIN, 0}};
  uint32_t sender = 0;
  std::chrono::steady_clock::time_point first;
  const auto parent = static_cast<uint32_t>(::getppid());
  for (bool is_first = true;; is_first = false) {
    while (::poll(files, 2, -1) < 0 && errno == EINTR) {}
    if (files[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signals_, &info, sizeof info) != sizeof info) return;
    const auto signal = static_cast<int>(info.ssi_signo);
    if (is_first) {
      std::cerr << "\n" << signal_name(signal)
                << ": the run ends after the step under way; a second signal ends it at once"
                << std::endl;
      request(signal);
      sender = info.ssi_pid;
      first = std::chrono::steady_clock::now();
      continue;
    }
    // Who stops all processes of a run at once reaches this one by the process that watches it too.
    const bool is_passed_on = (info.ssi_pid == parent) != (sender == parent);
    if (is_passed_on && std::chrono::steady_clock::now() - first < one_stop) continue;
    // Nothing is lost: committed steps are in the journal. The default action ends the process.
    std::signal(signal, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &taken_, nullptr);
    ::raise(signal);
  }
}

std::string signal_name(int signal) {
  switch (signal) {
    case SIGINT: return "SIGINT";
    case SIGTERM: return "SIGTERM";
    case SIGHUP: return "SIGHUP";
    case SIGPIPE: return "SIGPIPE";
    default: return "signal " + std::to_string(signal);
  }
}

}  // namespace troupe::deploy
