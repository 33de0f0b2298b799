#include "runtime/telemetry/cell_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

#include "runtime/telemetry/process_status.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

constexpr time_t day_seconds = 24 * 60 * 60;
/// Several in one process: each takes the next name.
constexpr int most_files_a_process = 64;

std::string prefix() { return "troupe-" + std::to_string(::geteuid()) + "-"; }

/// Opens a name that is not there yet; what a dead process of our pid left there goes. -1: errno.
int open_new(const fs::path& folder, fs::path& path) {
  for (int i = 1; i <= most_files_a_process; ++i) {
    path =
        folder / (prefix() + std::to_string(::getpid()) + (i == 1 ? "" : "." + std::to_string(i)));
    for (int attempt = 0; attempt < 2; ++attempt) {
      const int file =
          ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
      if (file >= 0 || errno != EEXIST) return file;
      const CellFileOwner owner = owner_of(path);
      if (!owner.is_judgeable || owner.is_alive) break;
      ::unlink(path.c_str());
    }
  }
  errno = EEXIST;
  return -1;
}

/// 0, or why there is no room. A file beyond the limit on sizes would be answered with a signal.
int reserve(int file) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < cell_file_bytes) return EFBIG;
  int error = EINTR;
  while (error == EINTR) {
    error = ::posix_fallocate(file, 0, static_cast<off_t>(cell_file_bytes));
  }
  return error;
}

/// The mapped file, or nullptr and the reason in `error`.
void* make_file(const fs::path& folder, fs::path& path, int& error) {
  const int file = open_new(folder, path);
  if (file < 0) {
    error = errno;
    return nullptr;
  }
  error = reserve(file);
  void* memory = MAP_FAILED;
  if (error == 0) {
    // Populated, so that no message pays for the first touch of a page.
    memory = ::mmap(nullptr, cell_file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                    file, 0);
    if (memory == MAP_FAILED) error = errno;
  }
  ::close(file);
  if (memory != MAP_FAILED) return memory;
  ::unlink(path.c_str());
  return nullptr;
}

bool is_older_than_a_day(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && ::time(nullptr) - info.st_mtime > day_seconds;
}

}  // namespace

std::vector<fs::path> cell_folders() {
  std::vector<fs::path> folders{"/dev/shm"};
  const char* temporary = std::getenv("TMPDIR");
  if (temporary != nullptr && temporary[0] == '/') folders.emplace_back(temporary);
  if (folders.back().lexically_normal() != "/tmp") folders.emplace_back("/tmp");
  return folders;
}

CellMemory make_cell_memory(const std::vector<fs::path>& folders) {
  CellMemory made;
  for (const fs::path& folder : folders) {
    int error = 0;
    made.memory = make_file(folder, made.path, error);
    if (made.memory != nullptr) return made;
    made.note += (made.note.empty() ? "" : "; ") + folder.string() + " takes no file of " +
                 std::to_string(cell_file_bytes) + " bytes: " + std::strerror(error);
  }
  made.path.clear();
  made.note += (made.note.empty() ? "" : "; ") + std::string("troupe ps cannot see this process");
  made.memory =
      ::mmap(nullptr, cell_file_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made.memory == MAP_FAILED) throw std::bad_alloc();
  return made;
}

void release_cell_memory(const CellMemory& memory) {
  if (!memory.path.empty()) ::unlink(memory.path.c_str());
  ::munmap(memory.memory, cell_file_bytes);
}

std::vector<fs::path> find_cell_files(const std::vector<fs::path>& folders) {
  std::vector<fs::path> found;
  for (const fs::path& folder : folders) {
    std::error_code ignored;  // a folder that is not there has none
    for (fs::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
      struct stat info {};
      const fs::path& path = it->path();
      if (path.filename().string().starts_with(prefix()) && ::lstat(path.c_str(), &info) == 0 &&
          S_ISREG(info.st_mode) && info.st_uid == ::geteuid()) {
        found.push_back(path);
      }
      if (ignored) break;
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

CellFileOwner owner_of(const fs::path& path) {
  CellFileOwner owner;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return owner;
  const auto header = std::make_unique<FileHeader>();
  const bool is_read = ::pread(file, header.get(), sizeof *header, 0) == sizeof *header;
  ::close(file);
  if (!is_read || header->magic != cell_file_magic || header->version != cell_file_version) {
    return owner;
  }
  owner.pid = static_cast<pid_t>(header->pid);
  owner.run_folder.assign(header->run_folder, ::strnlen(header->run_folder, run_folder_bytes));
  owner.is_judgeable = header->pid_namespace == pid_namespace();
  owner.is_alive = process_state(owner.pid, header->process_start) != ProcessState::ended;
  return owner;
}

void remove_dead_cell_files(const std::vector<fs::path>& folders, const std::string& run_folder) {
  for (const fs::path& path : find_cell_files(folders)) {
    const CellFileOwner owner = owner_of(path);
    if (!owner.is_judgeable || owner.is_alive) continue;
    if (owner.run_folder == run_folder || is_older_than_a_day(path)) ::unlink(path.c_str());
  }
}

}  // namespace troupe::runtime
