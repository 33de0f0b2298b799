#include "runtime/cluster/memory_group.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "runtime/cluster/cluster_error.h"
#include "runtime/telemetry/process_status.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

const std::string prefix = "troupe-memory-";

struct Group {
  fs::path folder;
  bool is_unified;  ///< cgroup v2

  fs::path limit() const { return folder / (is_unified ? "memory.max" : "memory.limit_in_bytes"); }
  fs::path counts() const { return folder / (is_unified ? "memory.events.local" : "memory.oom_control"); }
  /// By its number and the namespace that this is of: hosts of one machine have the same numbers.
  Group of_process(pid_t process) const {
    return {folder / (prefix + std::to_string(pid_namespace()) + "-" + std::to_string(process)), is_unified};
  }
};

/// Where the controller is mounted, from a line of mountinfo (proc(5)); empty: it is another's.
fs::path mount_of(const std::string& line, bool is_unified) {
  const size_t dash = line.find(" - ");
  if (dash == std::string::npos) return {};
  std::istringstream before(line.substr(0, dash)), behind(line.substr(dash + 3));
  std::string skipped, root, point, type, source, options;
  before >> skipped >> skipped >> skipped >> root >> point;
  behind >> type >> source >> options;
  if (is_unified) return type == "cgroup2" ? point : "";
  const bool has_memory = ("," + options + ",").find(",memory,") != std::string::npos;
  return type == "cgroup" && has_memory ? point : "";
}

/// This process's, as /proc/self/cgroup says.
std::optional<Group> own_group() {
  std::ifstream groups("/proc/self/cgroup");
  std::optional<std::string> v1, v2;
  for (std::string line; std::getline(groups, line);) {
    const size_t name = line.find(':') + 1, path = line.find(':', name) + 1;
    if (name == 0 || path == 0) continue;
    const std::string controllers = "," + line.substr(name, path - 1 - name) + ",";
    if (controllers == ",,") v2 = line.substr(path);
    if (controllers.find(",memory,") != std::string::npos) v1 = line.substr(path);
  }
  const bool is_unified = !v1;
  const auto& path = v1 ? v1 : v2;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; path && std::getline(mounts, line);) {
    const fs::path mount = mount_of(line, is_unified);
    if (mount.empty()) continue;
    const fs::path folder = mount / path->substr(1);
    // In a container the path may be the host's, and the mount begins at the container's.
    return Group{fs::exists(folder) ? folder : mount, is_unified};
  }
  return std::nullopt;
}

void write_to(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text << std::flush;
  if (!out) throw ClusterError("cannot write " + text + " to " + file.string() + ": " + std::strerror(errno));
}

uint64_t kills_in(const Group& group) {
  std::ifstream counts(group.counts());
  uint64_t count = 0;
  for (std::string name; counts >> name >> count;) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

/// Throws ClusterError.
Group make_group() {
  const auto own = own_group();
  if (!own) throw ClusterError("found no memory groups of the kernel (cgroup) on this machine");
  const Group group = own->of_process(::getpid());
  std::error_code error;
  fs::create_directory(group.folder, error);
  if (error) throw ClusterError("cannot make a memory group: " + group.folder.string() + ": " + error.message());
  if (!fs::exists(group.limit())) {
    fs::remove(group.folder, error);
    throw ClusterError("groups below " + own->folder.string() +
                       " have no limit of memory: its cgroup.subtree_control is without memory");
  }
  return group;
}

}  // namespace

std::string why_no_memory_group() {
  try {
    const Group group = make_group();
    std::error_code error;
    fs::remove(group.folder, error);
    return "";
  } catch (const ClusterError& error) {
    return error.what();
  }
}

void enter_memory_group(int64_t bytes) {
  const Group group = make_group();
  write_to(group.limit(), std::to_string(bytes));
  // Nothing of it may go to a swap device in the place of an end.
  const fs::path swap = group.folder / (group.is_unified ? "memory.swap.max" : "memory.swappiness");
  if (fs::exists(swap)) write_to(swap, "0");
  write_to(group.folder / "cgroup.procs", std::to_string(::getpid()));
}

std::string lack_of_memory(pid_t process) {
  static std::atomic<uint64_t> known{0};
  const auto own = own_group();
  if (!own) return "";
  const uint64_t now = kills_in(*own);
  bool was_killed = now > known.exchange(now) && process != 0;
  const Group group = own->of_process(process);
  if (process != 0 && fs::exists(group.folder)) {
    was_killed = kills_in(group) > 0;
    ::rmdir(group.folder.c_str());
  }
  return was_killed ? ", by the kernel for lack of memory" : "";
}

uint64_t close_memory_groups() {
  const auto own = own_group();
  uint64_t kills = 0;
  std::error_code error;
  fs::directory_iterator at(own ? own->folder : fs::path(), error);
  std::vector<Group> left;
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    if (at->path().filename().string().starts_with(prefix)) left.push_back({at->path(), own->is_unified});
  }
  for (const Group& group : left) {
    const uint64_t its = kills_in(group);
    if (::rmdir(group.folder.c_str()) == 0) kills += its;  // else somebody is in it
  }
  return kills;
}

}  // namespace troupe::runtime
