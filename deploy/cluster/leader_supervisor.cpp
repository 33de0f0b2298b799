#include "deploy/cluster/leader_supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <iostream>
#include <system_error>

#include "deploy/stop_signals.h"
#include "runtime/cluster/cluster_error.h"

namespace troupe::deploy {
namespace {

/// What a leader ends with for another to begin at the newest checkpoint (EX_TEMPFAIL of
/// sysexits.h).
constexpr int begin_again_code = 75;
/// So many leaders may be lost one behind the other without a step.
constexpr int most_lost = 5;
/// For nodes of lost leaders to end when the run has.
constexpr std::chrono::seconds patience{10};

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::string how_it_ended(int status) {
  if (!WIFSIGNALED(status)) return "ended with code " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  const char* name = ::sigabbrev_np(signal);
  return "was ended by signal " + std::to_string(signal) +
         (name ? " (SIG" + std::string(name) + ")" : "");
}

/// Signals of this process are read from a file while it lives.
class SignalFile {
 public:
  SignalFile() {
    ::sigemptyset(&taken_);
    ::sigaddset(&taken_, SIGCHLD);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction action {};
      ::sigaction(signal, nullptr, &action);
      if (action.sa_handler != SIG_IGN) ::sigaddset(&taken_, signal);
    }
    ::sigprocmask(SIG_BLOCK, &taken_, &before_);
    file_ = ::signalfd(-1, &taken_, SFD_CLOEXEC);
    if (file_ < 0) fail("signals cannot be watched");
  }
  ~SignalFile() {
    ::close(file_);
    restore();
  }
  SignalFile(const SignalFile&) = delete;
  SignalFile& operator=(const SignalFile&) = delete;

  int file() const { return file_; }
  void restore() const { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  int next() const {
    signalfd_siginfo info{};
    return ::read(file_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t taken_{}, before_{};
  int file_ = -1;
};

}  // namespace

void LeaderLife::step_done() const {
  const char step = 's';
  if (line_ >= 0) (void)!::write(line_, &step, 1);  // a full pipe says the same
}

class LeaderSupervisor {
 public:
  LeaderSupervisor() {
    // Nodes that a lost leader has started are reaped here.
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) fail("PR_SET_CHILD_SUBREAPER");
  }

  /// True in the process that leads, which goes on with `life`.
  bool start(LeaderLife& life);
  /// Waits for its end: the status of waitpid.
  int wait();
  /// Whether another is to lead behind one that has ended so. Sets how its life begins.
  bool is_another_due(int status, LeaderLife& life);
  int signal() const { return signal_; }
  void reap_nodes() const;
  void leave_signals() const { signals_.restore(); }

 private:
  bool reap(int& status) const;

  SignalFile signals_;
  pid_t leader_ = 0;
  int line_ = -1;
  int signal_ = 0;  // the last one that was passed on
  int lost_ = 0;    // without a step
};

bool LeaderSupervisor::start(LeaderLife& life) {
  std::cout.flush();
  std::array<int, 2> line{};
  if (::pipe2(line.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail("pipe2");
  const pid_t self = ::getpid();
  leader_ = ::fork();
  if (leader_ < 0) fail("the process that leads cannot be started");
  if (leader_ > 0) {
    ::close(line[1]);
    line_ = line[0];
    return false;
  }
  ::close(line[0]);
  life.line_ = line[1];
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != self) ::raise(SIGKILL);
  ::setpgid(0, 0);  // Ctrl-C is for the supervisor, which passes it on
  signals_.restore();
  return true;
}

bool LeaderSupervisor::reap(int& status) const {
  bool has_ended = false;
  for (int one = 0;;) {
    const pid_t pid = ::waitpid(-1, &one, WNOHANG);
    if (pid <= 0) return has_ended;
    if (pid != leader_) continue;
    status = one;
    has_ended = true;
  }
}

int LeaderSupervisor::wait() {
  int status = 0;
  pollfd files[] = {{signals_.file(), POLLIN, 0}, {line_, POLLIN, 0}};
  while (true) {
    while (::poll(files, 2, -1) < 0 && errno == EINTR) {
    }
    if (files[1].revents != 0) {
      char steps[256];
      if (::read(line_, steps, sizeof steps) > 0)
        lost_ = 0;
      else
        files[1].fd = -1;
    }
    if (files[0].revents == 0) continue;
    const int signal = signals_.next();
    if (signal == SIGCHLD) {
      if (!reap(status)) continue;
      ::close(line_);
      return status;
    }
    signal_ = signal;
    ::kill(leader_, signal);
  }
}

bool LeaderSupervisor::is_another_due(int status, LeaderLife& life) {
  const bool begins_again = WIFEXITED(status) && WEXITSTATUS(status) == begin_again_code;
  if (signal_ != 0 || (WIFEXITED(status) && !begins_again)) return false;
  const std::string loss =
      "process 0 (pid " + std::to_string(leader_) + "), which led the run, " + how_it_ended(status);
  if (++lost_ > most_lost) {
    std::cerr << "troupe: " << most_lost + 1
              << " processes that led the run were lost without a step between them; the last, "
              << loss << std::endl;
    return false;
  }
  ++life.number_;
  life.loss_ = begins_again ? std::string() : loss;
  return true;
}

void LeaderSupervisor::reap_nodes() const {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (true) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0) return;  // there is none any more
    if (pid > 0) continue;
    if (std::chrono::steady_clock::now() > end) return;
    pollfd file{signals_.file(), POLLIN, 0};
    if (::poll(&file, 1, 100) > 0) (void)signals_.next();
  }
}

void supervise_leader(const std::function<void(const LeaderLife&)>& lead) {
  LeaderSupervisor supervisor;
  LeaderLife life;
  while (true) {
    if (supervisor.start(life)) break;
    const int status = supervisor.wait();
    if (supervisor.is_another_due(status, life)) continue;
    supervisor.reap_nodes();
    if (WIFEXITED(status) && WEXITSTATUS(status) != begin_again_code)
      throw LeaderEnded(WEXITSTATUS(status));
    throw LeaderEnded(supervisor.signal() != 0 ? 128 + supervisor.signal() : 1);
  }
  try {
    lead(life);
  } catch (const BeginAgain& error) {
    std::cerr << "note: " << error.what() << "; another process leads on from the newest checkpoint"
              << std::endl;
    throw LeaderEnded(begin_again_code);
  } catch (const runtime::ClusterError& error) {
    if (life.is_first()) throw;
    std::cerr << "note: " << error.what() << "; another process tries to lead" << std::endl;
    throw LeaderEnded(begin_again_code);
  }
}

}  // namespace troupe::deploy
