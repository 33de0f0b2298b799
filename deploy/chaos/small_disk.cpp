#include "deploy/chaos/small_disk.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "deploy/chaos/own_mounts.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

constexpr const char* filler = "filler";

}  // namespace

std::string SmallDisk::why_none() {
  const std::string why = get_own_mounts();
  return why.empty() ? "" : "this process may not mount a disk of its own: " + why;
}

SmallDisk::SmallDisk(fs::path folder, uint64_t bytes) : folder_(std::move(folder)) {
  if (const std::string why = why_none(); !why.empty()) throw std::runtime_error(why);
  fs::create_directories(folder_);
  const std::string size = "mode=0755,size=" + std::to_string(bytes);
  if (::mount("tmpfs", folder_.c_str(), "tmpfs", 0, size.c_str()) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot mount a tmpfs on " + folder_.string());
  }
}

SmallDisk::~SmallDisk() {
  if (is_mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
}

uint64_t SmallDisk::fill() {
  const fs::path path = folder_ / filler;
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  uint64_t bytes = 0;
  int error = file < 0 ? errno : 0;
  const std::vector<char> piece(1 << 20, 'x');
  // A piece may fit in part: then the smaller ones take what is left.
  for (size_t size = piece.size(); error == 0;) {
    const ssize_t n = ::write(file, piece.data(), size);
    if (n > 0) bytes += static_cast<uint64_t>(n);
    if (n < 0 && errno == ENOSPC && size > 1) {
      size = size > 4096 ? 4096 : 1;
    } else if (n < 0 && errno != EINTR) {
      error = errno;
    }
  }
  if (file >= 0) ::close(file);
  if (error == ENOSPC) return bytes;
  throw std::system_error(error, std::generic_category(), "cannot fill " + folder_.string());
}

void SmallDisk::clear() { fs::remove(folder_ / filler); }

void SmallDisk::keep() {
  clear();
  const fs::path kept = folder_.string() + ".kept";
  fs::copy(folder_, kept, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  if (::umount2(folder_.c_str(), MNT_DETACH) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot unmount " + folder_.string());
  }
  is_mounted_ = false;
  fs::remove(folder_);
  fs::rename(kept, folder_);
}

}  // namespace troupe::deploy
