#include "runtime/checkpoint/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "runtime/checkpoint/error.h"

namespace troupe::runtime {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int error) {
  throw CheckpointError(path.string() + ": " + what + ": " + std::strerror(error));
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  const auto folder = path.parent_path();
  return folder.empty() ? std::filesystem::path(".") : folder;
}

}  // namespace

std::filesystem::path partial_path(const std::filesystem::path& path) {
  auto partial = path;
  if (!partial.has_filename()) partial = partial.parent_path();  // "dir/"
  partial += ".partial-" + std::to_string(getpid());
  return partial;
}

void make_durable(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path, "cannot be opened", errno);
  const int result = fsync(file);
  const int error = errno;
  close(file);
  if (result != 0) fail(path, "cannot be made durable", error);
}

void publish(const std::filesystem::path& partial, const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    throw CheckpointError(path.string() + ": found a folder, wanted a name that is free");
  }
  if (rename(partial.c_str(), path.c_str()) != 0) fail(path, "cannot be named", errno);
  make_durable(folder_of(path.has_filename() ? path : path.parent_path()));
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  if (!out) throw CheckpointError(path.string() + ": cannot be written");
  make_durable(path);
}

std::string read_file(const std::filesystem::path& path, uint64_t most) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (failure) throw CheckpointError(path.string() + ": " + failure.message());
  if (size > most) {
    throw CheckpointError(path.string() + ": found " + std::to_string(size) +
                          " bytes, wanted at most " + std::to_string(most));
  }
  std::string text(size, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(size));
  if (!in) throw CheckpointError(path.string() + ": cannot be read");
  return text;
}

}  // namespace troupe::runtime
