// One process a run folder: the lease of a run on one host.
#pragma once

#include <filesystem>

namespace troupe::runtime {

/// Holds an exclusive lock on `folder`/lock until it is destroyed or the process ends, however it
/// ends. Throws JournalError naming the process that holds it, or if the folder is on a network
/// file system, where such a lock means nothing.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace troupe::runtime
