// Where the run of a campaign plays: as it would by itself, or on a small disk, or over hosts with cables, as its
// failures want it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "deploy/chaos/hosts.h"
#include "deploy/chaos/small_disk.h"
#include "deploy/chaos/surroundings.h"
#include "deploy/process/children.h"

namespace troupe::deploy {

class Scene {
 public:
  struct Args {
    const std::vector<actors::Failpoint>& plan;
    std::filesystem::path run_folder;  ///< not there yet
    std::filesystem::path log;         ///< of the process that leads
    int processes;                     ///< of the run
    uint64_t disk_bytes;               ///< room for the run folder, where the disk gets full
  };
  /// Throws actors::FailpointError: which failure this machine has no means for, and why; or what of them speaks of no
  /// process that can have it.
  static void check(const std::vector<actors::Failpoint>& plan, int processes);

  explicit Scene(const Args& args);
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  /// What is to be started, all of it at once, for `troupe train ...`: that first.
  std::vector<Child> children(std::vector<std::string> arguments);
  /// Behind the run: failures that were done; the run folder stays where it is.
  std::vector<std::string> finish();
  std::vector<std::string> failed() const { return surroundings_.failed(); }

 private:
  Surroundings::Deed deed_of(const actors::Failpoint& failpoint);

  const std::filesystem::path log_, over_;
  const int processes_;
  std::optional<SmallDisk> disk_;
  std::optional<Hosts> hosts_;
  Surroundings surroundings_;
};

/// On which host a process of the run is, as the output of the one that leads says by now: "node 2 of 3: host-1, ..." or
/// "joined: process 2 (host-1, ...". Throws std::runtime_error if it says nothing of it.
int host_of_process(const std::string& output, int process);

}  // namespace troupe::deploy
