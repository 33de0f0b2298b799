#include "deploy/cluster/lead/leader_supervisor.h"

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
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <system_error>
#include <vector>

#include "deploy/cluster/lead/beating_line.h"
#include "deploy/process/stop_signals.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/memory_group.h"
#include "runtime/cluster/watch/heartbeats.h"
#include "runtime/cluster/watch/process_handle.h"
#include "runtime/telemetry/event_log.h"

namespace troupe::deploy {
namespace {

/// What a leader ends with for another to begin at the newest checkpoint (EX_TEMPFAIL of
/// sysexits.h).
constexpr int begin_again_code = 75;
/// And for another to take over what it could not.
constexpr int try_again_code = 76;
/// And when it does not lead any more.
constexpr int fenced_code = 77;
/// So often; then from the newest checkpoint.
constexpr int most_takeovers = 2;
/// So many leaders may be lost one behind the other without a step.
constexpr int most_lost = 5;
/// What a leader says to the supervisor: a step is done; the end that follows is its own.
constexpr char step_word = 's', end_word = 'e';
/// Or that the run has so many processes now, or which revision makes it the leader: a word and a number
/// of eight bytes.
constexpr char processes_word = 'p', holds_word = 'h';
constexpr int look_milliseconds = static_cast<int>(1000 * runtime::Heartbeats::look_interval);
/// For nodes of lost leaders to end when the run has.
constexpr std::chrono::seconds patience{10};

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Of this process, those of lost leaders among them, that run this program. None where the kernel does not say.
std::vector<pid_t> own_children() {
  const std::string self = std::to_string(::getpid());
  std::ifstream file("/proc/" + self + "/task/" + self + "/children");
  std::vector<pid_t> found;
  for (pid_t child = 0; file >> child;) {
    std::error_code none;  // it has ended
    if (std::filesystem::equivalent("/proc/self/exe", "/proc/" + std::to_string(child) + "/exe", none)) found.push_back(child);
  }
  return found;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
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

/// Said by a leader whose end is its own, whichever way it comes to it.
class Farewell {
 public:
  explicit Farewell(std::function<void()> say) : say_(std::move(say)) {}
  ~Farewell() {
    if (say_) say_();
  }
  Farewell(const Farewell&) = delete;
  Farewell& operator=(const Farewell&) = delete;
  void leave_out() { say_ = {}; }

 private:
  std::function<void()> say_;
};

}  // namespace

void LeaderLife::say(char word) const {
  if (line_ >= 0) (void)!::write(line_, &word, 1);  // a full pipe says as much
}

void LeaderLife::step_done() const { say(step_word); }

void LeaderLife::say(char word, int64_t number) const {
  char words[1 + sizeof number] = {word};
  std::memcpy(words + 1, &number, sizeof number);
  if (line_ >= 0) (void)!::write(line_, words, sizeof words);
}

void LeaderLife::holds(int64_t revision) const {
  is_held_ = true;
  holding_ = revision;
  say(holds_word, revision);
}

LeaderLife LeaderLife::with_processes(int processes) const {
  LeaderLife life = *this;
  ++life.number_;
  life.loss_.clear();
  life.processes_ = processes;
  life.held_revision_ = holding_;
  life.is_behind_others_ = false;
  return life;
}

void LeaderLife::has_processes(int processes) const { say(processes_word, processes); }

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
  /// How the supervisor ends behind the last leader, by an exception.
  [[noreturn]] void end(int status, const SupervisedRun& run) const;
  void end_nodes(const SupervisedRun& run) const;
  void leave_signals() const { signals_.restore(); }

 private:
  bool reap(int& status) const;
  bool listen();
  void hear_beat();
  void judge();
  std::string loss(int status) const;

  SignalFile signals_;
  pid_t leader_ = 0;
  int line_ = -1;
  int signal_ = 0;  // the last one that was passed on
  int lost_ = 0;    // without a step
  int failed_takeovers_ = 0;
  int64_t processes_ = 0;  // that the run is to have from now on
  int64_t held_revision_ = 0;  // what makes the leader one
  std::string heard_;
  bool has_ended_itself_ = false;
  runtime::AwakeClock clock_{3 * runtime::Heartbeats::look_interval};
  std::optional<runtime::HeartbeatJudge> judge_;  // none: it does not beat, nor is it meant to
  uint64_t beats_ = 0;
  std::string silence_;  // for which it was killed
  uint64_t noticed_us_ = 0;
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

/// False when there is nothing to hear, or nothing any more.
bool LeaderSupervisor::listen() {
  char words[256];
  const ssize_t n = ::read(line_, words, sizeof words);
  if (n <= 0) return false;
  heard_.append(words, static_cast<size_t>(n));
  while (!heard_.empty()) {
    const bool has_number = heard_[0] == processes_word || heard_[0] == holds_word;
    const size_t length = has_number ? 1 + sizeof(int64_t) : 1;
    if (heard_.size() < length) break;
    if (heard_[0] == step_word) lost_ = 0;
    if (heard_[0] == end_word) has_ended_itself_ = true;
    if (heard_[0] == BeatingLine::end_of_beats) judge_.reset();
    if (heard_[0] == BeatingLine::beat) hear_beat();
    if (has_number) {
      int64_t& number = heard_[0] == processes_word ? processes_ : held_revision_;
      std::memcpy(&number, heard_.data() + 1, sizeof number);
    }
    heard_.erase(0, length);
  }
  return true;
}

void LeaderSupervisor::hear_beat() {
  const double now = clock_.look(steady_seconds());
  if (!judge_) judge_.emplace(runtime::Heartbeats::judgement).watch(0, 1, now);
  judge_->hear(0, 1, ++beats_, now);
}

/// A frozen leader neither ends nor leads.
void LeaderSupervisor::judge() {
  const double now = clock_.look(steady_seconds());
  if (!judge_) return;
  for (const runtime::Suspicion& one : judge_->judge(now).suspected) {
    silence_ = describe(one);
    noticed_us_ = runtime::unix_us();
    ::kill(leader_, SIGKILL);
  }
}

int LeaderSupervisor::wait() {
  int status = 0;
  has_ended_itself_ = false;
  heard_.clear();
  judge_.reset();
  silence_.clear();
  pollfd files[] = {{signals_.file(), POLLIN, 0}, {line_, POLLIN, 0}};
  while (true) {
    while (::poll(files, 2, judge_ ? look_milliseconds : -1) < 0 && errno == EINTR) {
    }
    if (files[1].revents != 0 && !listen()) files[1].fd = -1;
    judge();
    if (files[0].revents == 0) continue;
    const int signal = signals_.next();
    if (signal == SIGCHLD) {
      if (!reap(status)) continue;
      if (silence_.empty()) noticed_us_ = runtime::unix_us();
      while (listen()) {
      }
      ::close(line_);
      return status;
    }
    signal_ = signal;
    ::kill(leader_, signal);
  }
}

bool LeaderSupervisor::is_another_due(int status, LeaderLife& life) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  failed_takeovers_ = code == try_again_code ? failed_takeovers_ + 1 : 0;
  const bool begins_again = code == begin_again_code || failed_takeovers_ >= most_takeovers;
  if (signal_ != 0 || has_ended_itself_) return false;
  life.held_revision_ = held_revision_;
  life.is_behind_others_ = begins_again;
  if (code == fenced_code) {
    ++life.number_;
    life.held_revision_ = held_revision_ = 0;
    life.loss_.clear();
    return true;
  }
  if (++lost_ > most_lost) {
    std::cerr << "troupe: " << most_lost + 1
              << " processes that led the run were lost without a step between them; the last, "
              << loss(status) << std::endl;
    return false;
  }
  ++life.number_;
  life.processes_ = static_cast<int>(processes_);
  life.loss_us_ = noticed_us_;
  if (code != try_again_code) life.loss_ = loss(status);
  if (begins_again) life.loss_.clear();
  return true;
}

std::string LeaderSupervisor::loss(int status) const {
  return "process 0 (pid " + std::to_string(leader_) + "), which led the run, " +
         (silence_.empty() ? "" : "was " + silence_ + " and ") + runtime::how_it_ended(leader_, status);
}

void LeaderSupervisor::end(int status, const SupervisedRun& run) const {
  if (has_ended_itself_) throw LeaderEnded(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
  if (signal_ == 0) throw LeaderEnded(1);
  if (WIFSIGNALED(status) && WTERMSIG(status) == signal_) throw LeaderEnded(128 + signal_);  // it led nothing yet
  // It was lost before it could do what the signal asks for, and say so.
  throw StoppedBySignal(signal_, "stopped by " + signal_name(signal_) + "; " + loss(status) + "; " + run.goes_on);
}

/// Nodes of a leader that was lost wait for the next one: they are told that there is none.
void LeaderSupervisor::end_nodes(const SupervisedRun& run) const {
  if (!has_ended_itself_ && run.starts_nodes) {
    for (const pid_t node : own_children()) ::kill(node, SIGTERM);
  }
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

void supervise_leader(const SupervisedRun& run, const std::function<void(const LeaderLife&)>& lead) {
  LeaderSupervisor supervisor;
  runtime::lack_of_memory(0);  // what was before the run is not of it
  LeaderLife life;
  while (true) {
    if (supervisor.start(life)) break;
    const int status = supervisor.wait();
    if (supervisor.is_another_due(status, life)) continue;
    supervisor.end_nodes(run);
    supervisor.end(status, run);
  }
  Farewell farewell([&life] { life.say(end_word); });
  try {
    const BeatingLine beating(life.line_);
    lead(life);
  } catch (const BeginAgain& error) {
    farewell.leave_out();
    std::cerr << "note: " << error.what() << "; another process leads on from the newest checkpoint"
              << std::endl;
    throw LeaderEnded(begin_again_code);
  } catch (const Fenced& error) {
    farewell.leave_out();
    std::cerr << "note: " << error.what() << "; it stands by from now on" << std::endl;
    throw LeaderEnded(fenced_code);
  } catch (const runtime::ClusterError& error) {
    if (life.is_first() && !life.is_held_) throw;
    farewell.leave_out();
    std::cerr << "note: " << error.what() << "; another process tries to lead" << std::endl;
    throw LeaderEnded(try_again_code);
  }
}

}  // namespace troupe::deploy
