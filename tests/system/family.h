// The processes that a run of several has started.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/system/background.h"

namespace troupe::tests {

/// A file of a process that may be ending: empty if it has.
inline std::string read_proc(const std::filesystem::path& path) {
  std::string text;
  std::FILE* const file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

inline std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code gone;
  std::filesystem::directory_iterator task("/proc/" + std::to_string(pid) + "/task", gone);
  for (; !gone && task != std::filesystem::directory_iterator(); task.increment(gone)) {
    std::istringstream pids(read_proc(task->path() / "children"));
    for (pid_t child = 0; pids >> child;) {
      // One that has ended and was not waited for has none.
      if (!read_proc("/proc/" + std::to_string(child) + "/cmdline").empty()) {
        children.push_back(child);
      }
    }
  }
  return children;
}

/// Of a leader that nodes join at a port of its own choice.
inline std::string port_of(Background& leader) {
  EXPECT_TRUE(leader.says("troupe node --join ")) << leader.text();
  const std::string text = leader.text();
  const size_t at = text.find("127.0.0.1:") + 10;
  return text.substr(at, text.find('\n', at) - at);
}

/// The process that leads, which the run's own watches; 0: there is none now.
inline pid_t leader_of(const Background& run) {
  for (const pid_t child : children_of(run.pid())) {
    const std::string line = read_proc("/proc/" + std::to_string(child) + "/cmdline");
    if (line.find(std::string("\0train\0", 7)) != std::string::npos) return child;
  }
  return 0;
}

/// The others, those of leaders that are lost among them.
inline std::vector<pid_t> nodes_of(const Background& run) {
  std::vector<pid_t> nodes;
  const pid_t leader = leader_of(run);
  for (const pid_t child : children_of(run.pid())) {
    if (child != leader) nodes.push_back(child);
  }
  const std::vector<pid_t> own = children_of(leader);
  nodes.insert(nodes.end(), own.begin(), own.end());
  return nodes;
}

}  // namespace troupe::tests
