#include "deploy/process/children.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <map>
#include <stdexcept>
#include <system_error>

namespace troupe::deploy {
namespace {

/// In the child. Returns with errno set.
void become(const Child& child, const std::string& program, std::vector<char*>& arguments, pid_t parent) {
  // Ended in order, as by who started it, when that ends and cannot tell it.
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return;
  if (::getppid() != parent) ::raise(SIGTERM);
  const int log = ::open(child.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0 || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0) return;
  ::execvp(program.c_str(), arguments.data());
}

pid_t start(const Child& child) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> words = child.by;
  words.push_back(child.by.empty() ? "troupe" : self);
  words.insert(words.end(), child.arguments.begin(), child.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string program = child.by.empty() ? "/proc/self/exe" : child.by.front();
  std::array<int, 2> line{};  // closed by the program's start; else why there is none
  if (::pipe2(line.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    become(child, program, arguments, parent);
    (void)!::write(line[1], &errno, sizeof errno);
    ::_exit(127);
  }
  int error = pid < 0 ? errno : 0;
  ::close(line[1]);
  if (pid > 0 && ::read(line[0], &error, sizeof error) > 0) ::waitpid(pid, nullptr, 0);
  ::close(line[0]);
  if (error != 0) {
    throw std::runtime_error(child.name + " cannot be started, or " + child.log.string() +
                             " not be written: " + std::generic_category().message(error));
  }
  return pid;
}

}  // namespace

void run_children(const std::vector<Child>& children, int jobs,
                  const std::function<void(const Child&, const ChildEnd&)>& ended) {
  std::map<pid_t, const Child*> running;
  size_t next = 0;
  bool is_stopped = false;
  while (!running.empty() || (next < children.size() && !is_stopped)) {
    while (!is_stopped && next < children.size() && static_cast<int>(running.size()) < jobs) {
      const pid_t pid = start(children[next]);
      running.emplace(pid, &children[next++]);
    }
    int status = 0;
    rusage usage{};
    const pid_t pid = ::wait4(-1, &status, 0, &usage);
    if (pid < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(), "wait4");
    }
    const auto found = running.find(pid);
    if (found == running.end()) continue;
    const bool by_signal = WIFSIGNALED(status);
    const ChildEnd end{by_signal ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
                       int64_t{usage.ru_maxrss} * 1024};
    is_stopped = is_stopped || end.status > 128;
    ended(*found->second, end);
    running.erase(found);
  }
}

}  // namespace troupe::deploy
