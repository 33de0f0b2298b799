// Runs of this program as child processes, some at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace troupe::deploy {

struct Child {
  std::string name;
  std::vector<std::string> arguments;  ///< of this program
  std::filesystem::path log;           ///< where its output goes
  /// Words of a command that starts the program it finds behind them, with its arguments; none: it is
  /// started as it is.
  std::vector<std::string> by = {};
};

struct ChildEnd {
  int status = 0;          ///< as a shell has it: 128 + signal for one that a signal ended
  int64_t peak_bytes = 0;  ///< resident at most
};

/// Runs all of them, at most `jobs` at a time, in their order; `ended` hears each end. When one is
/// ended by a signal no more are started; when this process is, each is told to end (SIGTERM). Throws
/// std::runtime_error if a process cannot be made or a log cannot be written.
void run_children(const std::vector<Child>& children, int jobs,
                  const std::function<void(const Child&, const ChildEnd&)>& ended);

}  // namespace troupe::deploy
