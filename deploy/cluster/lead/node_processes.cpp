#include "deploy/cluster/lead/node_processes.h"

#include <csignal>
#include <cstring>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "deploy/cluster/secret_option.h"
#include "runtime/cluster/cluster_error.h"
#include "runtime/cluster/watch/process_handle.h"

namespace troupe::deploy {
namespace {

constexpr std::chrono::seconds patience{10};

}  // namespace

void NodeProcesses::start(int count, const runtime::Endpoint& at, const runtime::Secret& secret) {
  std::vector<std::string> environment{std::string(secret_variable) + "=" + secret.text()};
  for (char** entry = environ; *entry; ++entry) {
    if (!std::string_view(*entry).starts_with(std::string(secret_variable) + "=")) {
      environment.emplace_back(*entry);
    }
  }
  std::vector<char*> variables;
  for (std::string& entry : environment) variables.push_back(entry.data());
  variables.push_back(nullptr);
  std::string words[] = {"troupe", "node", "--join", runtime::to_string(at)};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};

  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::sigaddset(&defaults, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
  int error = 0;
  for (int i = 0; i < count && error == 0; ++i) {
    pid_t pid = 0;
    error = ::posix_spawn(&pid, "/proc/self/exe", nullptr, &attributes, arguments, variables.data());
    if (error == 0) living_.push_back(pid);
  }
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw runtime::ClusterError(std::string("cannot start a node process: ") + std::strerror(error));
  }
}

void NodeProcesses::check() {
  for (const pid_t pid : living_) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) != pid) continue;
    std::erase(living_, pid);
    throw runtime::ClusterError("node process " + std::to_string(pid) + " " + runtime::how_it_ended(pid, status) +
                                " before it had joined the run");
  }
}

bool NodeProcesses::has_last_ended() {
  if (living_.empty() || ::waitpid(living_.back(), nullptr, WNOHANG) != living_.back()) return false;
  living_.pop_back();
  return true;
}

void NodeProcesses::reap() {
  std::erase_if(living_, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) == pid; });
}

NodeProcesses::~NodeProcesses() {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (const pid_t pid : living_) {
    while (::waitpid(pid, nullptr, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        continue;
      }
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      break;
    }
  }
}

}  // namespace troupe::deploy
