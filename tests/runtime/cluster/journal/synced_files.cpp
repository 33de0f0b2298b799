#include "tests/runtime/cluster/journal/synced_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace troupe::tests {
namespace {

namespace fs = std::filesystem;
using FileId = std::pair<dev_t, ino_t>;

struct Synced {
  std::mutex mutex;
  std::map<FileId, uintmax_t> bytes;              // of files
  std::map<FileId, std::set<std::string>> names;  // of folders
  bool fails_folder = false, fails_file = false;
};

Synced& synced() {
  static Synced all;
  return all;
}

FileId id_of(const struct stat& status) { return {status.st_dev, status.st_ino}; }

FileId id_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? id_of(status) : FileId{};
}

int sync(int file, long call) {
  const std::scoped_lock lock(synced().mutex);
  struct stat status {};
  const bool is_known = ::fstat(file, &status) == 0;
  const bool is_folder = is_known && S_ISDIR(status.st_mode);
  if (std::exchange(is_folder ? synced().fails_folder : synced().fails_file, false)) {
    errno = EIO;
    return -1;
  }
  const long result = ::syscall(call, file);
  if (result != 0 || !is_known) return static_cast<int>(result);
  if (is_folder) {
    std::set<std::string>& names = synced().names[id_of(status)];
    names.clear();
    std::error_code gone;
    const fs::path folder("/proc/self/fd/" + std::to_string(file));
    for (const auto& entry : fs::directory_iterator(folder, gone)) {
      names.insert(entry.path().filename());
    }
  } else if (S_ISREG(status.st_mode)) {
    synced().bytes[id_of(status)] = static_cast<uintmax_t>(status.st_size);
  }
  return 0;
}

}  // namespace

void cut_power(const fs::path& folder) {
  const std::scoped_lock lock(synced().mutex);
  const std::set<std::string>& names = synced().names[id_of(folder)];
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
  for (const fs::path& path : paths) {
    const auto found = synced().bytes.find(id_of(path));
    if (found == synced().bytes.end() || !names.contains(path.filename())) {
      fs::remove(path);
    } else if (fs::file_size(path) > found->second) {
      fs::resize_file(path, found->second);
    }
  }
}

void fail_next_folder_sync() {
  const std::scoped_lock lock(synced().mutex);
  synced().fails_folder = true;
}

void fail_next_file_sync() {
  const std::scoped_lock lock(synced().mutex);
  synced().fails_file = true;
}

}  // namespace troupe::tests

extern "C" int fsync(int file) { return troupe::tests::sync(file, SYS_fsync); }
extern "C" int fdatasync(int file) { return troupe::tests::sync(file, SYS_fdatasync); }
