#include "runtime/cluster/watch/process_handle.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <utility>

#include "runtime/cluster/memory_group.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::runtime {
namespace {

/// waitid(2)'s P_PIDFD, which older headers do not have.
constexpr auto by_file = static_cast<idtype_t>(3);

std::string boot_of_machine() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot;
}

std::string ended_by(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return "was ended by signal " + std::to_string(signal) + (name ? " (SIG" + std::string(name) + ")" : "");
}

}  // namespace

void set_own_process(wire::NodeFacts& facts) {
  facts.set_pid(static_cast<uint64_t>(::getpid()));
  facts.set_boot(boot_of_machine());
  facts.set_pid_namespace(pid_namespace());
  if (const auto status = process_status(::getpid())) facts.set_start_time(status->start_time);
}

std::optional<ProcessHandle> ProcessHandle::of(const wire::NodeFacts& facts) {
  if (facts.boot().empty() || facts.boot() != boot_of_machine() || facts.pid_namespace() == 0 ||
      facts.pid_namespace() != runtime::pid_namespace()) {
    return std::nullopt;
  }
  const auto pid = static_cast<pid_t>(facts.pid());
  const auto file = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (file < 0) return std::nullopt;
  ProcessHandle handle(file, pid);
  // Only now is it sure that nobody else gets the number.
  const auto status = process_status(pid);
  if (!status || status->start_time != facts.start_time()) return std::nullopt;
  return handle;
}

ProcessHandle::ProcessHandle(int file, pid_t process)
    : file_(file), process_(process), memory_(std::make_unique<Memory>()) {}

ProcessHandle::ProcessHandle(ProcessHandle&& other) noexcept
    : file_(std::exchange(other.file_, -1)), process_(other.process_),
      memory_(std::move(other.memory_)) {}

ProcessHandle::~ProcessHandle() {
  if (file_ >= 0) ::close(file_);
}

bool ProcessHandle::wait(Deadline deadline) const {
  using std::chrono::milliseconds;
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd one{file_, POLLIN, 0};
    const int n = ::poll(&one, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30)));
    if (n >= 0 || errno != EINTR) return n > 0;
  }
}

void ProcessHandle::kill() const { ::syscall(SYS_pidfd_send_signal, file_, SIGKILL, nullptr, 0); }

std::string ProcessHandle::how_it_ended() const {
  siginfo_t info{};
  if (::waitid(by_file, static_cast<id_t>(file_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0) {
    return "has ended" + lack_of_memory();
  }
  if (info.si_code == CLD_EXITED) return "ended with code " + std::to_string(info.si_status);
  return ended_by(info.si_status) + (info.si_status == SIGKILL ? lack_of_memory() : "");
}

std::string how_it_ended(pid_t process, int status) {
  if (!WIFSIGNALED(status)) return "ended with code " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  return ended_by(signal) + (signal == SIGKILL ? lack_of_memory(process) : "");
}

const std::string& ProcessHandle::lack_of_memory() const {
  std::call_once(memory_->is_asked, [this] { memory_->lack = runtime::lack_of_memory(process_); });
  return memory_->lack;
}

}  // namespace troupe::runtime
