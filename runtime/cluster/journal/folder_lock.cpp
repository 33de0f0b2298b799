#include "runtime/cluster/journal/folder_lock.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>

#include "runtime/cluster/journal/journal_format.h"

namespace troupe::runtime {
namespace {

// Not in linux/magic.h of every version.
constexpr long cifs_magic = 0xFF534D42L, smb2_magic = 0xFE534D42L, ceph_magic = 0x00c36400L;

bool is_network_file_system(const std::filesystem::path& folder) {
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0) return false;
  const long network[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, cifs_magic, smb2_magic, ceph_magic,
                          V9FS_MAGIC, AFS_SUPER_MAGIC};
  return std::find(std::begin(network), std::end(network), static_cast<long>(info.f_type)) !=
         std::end(network);
}

/// A process that was killed a moment ago may still be giving its memory back.
constexpr std::chrono::milliseconds dying_time{1500};

bool lock_within(int file, std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

std::string holder_of(int file) {
  char text[32] = {};
  const ssize_t n = ::pread(file, text, sizeof text - 1, 0);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "unknown";
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) {
  if (is_network_file_system(folder)) {
    throw JournalError(folder.string() + " is on a network file system, wanted a local one");
  }
  const auto path = folder / "lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) throw JournalError("cannot open " + path.string() + ": " + std::strerror(errno));
  if (!lock_within(file_, dying_time)) {
    const std::string holder = holder_of(file_);
    ::close(file_);
    throw JournalError(folder.string() + " is in use by process " + holder);
  }
  const std::string pid = std::to_string(::getpid());
  // Who holds it is for messages alone: a disk too full to say so does not matter.
  if (::ftruncate(file_, 0) == 0) (void)!::pwrite(file_, pid.data(), pid.size(), 0);
}

FolderLock::~FolderLock() { ::close(file_); }

}  // namespace troupe::runtime
