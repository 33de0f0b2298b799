#include "runtime/data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/data/error.h"

namespace troupe::runtime {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw DataError(path.string() + ": cannot be opened: " + std::strerror(errno));
  struct stat status {};
  const bool is_file = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const std::size_t size = is_file ? static_cast<std::size_t>(status.st_size) : 0;
  void* mapped = nullptr;
  if (size > 0) mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  const int error = errno;
  close(file);
  if (!is_file) throw DataError(path.string() + ": is no file");
  if (mapped == MAP_FAILED) {
    throw DataError(path.string() + ": cannot be mapped: " + std::strerror(error));
  }
  bytes_ = {static_cast<const std::uint8_t*>(mapped), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace troupe::runtime
