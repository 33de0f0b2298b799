// A program that goes on beside a test; it is killed when the test leaves it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/program.h"

namespace troupe::tests {

class Background {
 public:
  /// A line for the shell, which it replaces (`exec`); both streams go to `output`.
  Background(const std::string& line, std::filesystem::path output)
      : output_(std::move(output)), child_(::fork()) {
    if (child_ != 0) return;
    const std::string redirected = line + " > '" + output_.string() + "' 2>&1";
    ::execl("/bin/sh", "sh", "-c", redirected.c_str(), nullptr);
    ::_exit(127);
  }
  ~Background() { kill(SIGKILL); }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  pid_t pid() const { return child_; }
  std::string text() const { return read_file(output_); }

  /// The exit code; 128 + the signal that ended it, as a shell says.
  int wait() {
    if (child_ == 0) return code_;
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = 0;
    return code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int kill(int signal) {
    if (child_ != 0) ::kill(child_, signal);
    return wait();
  }
  bool has_ended() {
    int status = 0;
    if (child_ == 0 || ::waitpid(child_, &status, WNOHANG) != child_) return child_ == 0;
    child_ = 0;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
  }
  /// Until its output holds `text`; false if it ends without.
  bool says(const std::string& text) {
    while (this->text().find(text) == std::string::npos) {
      if (has_ended()) return this->text().find(text) != std::string::npos;
      ::usleep(1000);
    }
    return true;
  }

 private:
  const std::filesystem::path output_;
  pid_t child_;
  int code_ = 0;
};

}  // namespace troupe::tests
