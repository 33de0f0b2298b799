#include "deploy/children.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <stdexcept>
#include <system_error>

namespace troupe::deploy {
namespace {

pid_t start(const Child& child) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> words = child.by;
  words.push_back(child.by.empty() ? "troupe" : self);
  words.insert(words.end(), child.arguments.begin(), child.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string program = child.by.empty() ? "/proc/self/exe" : child.by.front();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, child.log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  const int error =
      ::posix_spawnp(&pid, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
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
