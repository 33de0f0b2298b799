// A process of this machine, by a file that means it alone, whoever gets its number later
// (pidfd_open(2)).
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/cluster/join/frame_socket.h"

namespace troupe::runtime {

class ProcessHandle {
 public:
  /// Of the process that says so of itself; none if it is not of this machine and pid namespace, or
  /// has ended and been forgotten.
  static std::optional<ProcessHandle> of(const wire::NodeFacts& facts);
  ProcessHandle(ProcessHandle&& other) noexcept;
  ProcessHandle& operator=(ProcessHandle&&) = delete;
  ~ProcessHandle();

  /// Becomes readable when the process has ended.
  int file() const { return file_; }
  /// False: not until the deadline.
  bool wait(Deadline deadline) const;
  void kill() const;
  /// "was ended by signal 9 (SIGKILL)", "ended with code 1", or, of one that is no child of this
  /// process or was reaped before, "has ended"; and whether memory was lacking (memory_group.h). It stays
  /// to be reaped.
  std::string how_it_ended() const;

 private:
  ProcessHandle(int file, pid_t process);
  const std::string& lack_of_memory() const;

  /// The kernel is asked once, by whoever comes first.
  struct Memory {
    std::once_flag is_asked;
    std::string lack;
  };
  int file_;
  pid_t process_;
  std::unique_ptr<Memory> memory_;
};

/// The same of a child, by the status that waitpid(2) gives.
std::string how_it_ended(pid_t process, int status);

/// Sets those facts by which a handle is found: boot, pid namespace, pid and start time of this
/// process.
void set_own_process(wire::NodeFacts& facts);

}  // namespace troupe::runtime
