#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/safetensors.h"

namespace troupe::runtime {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::vector<TensorEntry> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)),
      partial_(partial_path(path_)),
      tensors_(std::move(tensors)),
      written_(tensors_.size(), false) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!by_name_.emplace(tensors_[i].name, i).second) {
      throw CheckpointError(path_.string() + ": found tensor " + tensors_[i].name +
                            " twice, wanted each name once");
    }
  }
  const std::string header = make_header(tensors_, metadata);
  file_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) fail(partial_, "cannot be made");
  try {
    write_at(0, {reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  } catch (const CheckpointError&) {
    close(file_);
    unlink(partial_.c_str());
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ < 0) return;
  close(file_);
  unlink(partial_.c_str());
}

void SafetensorsWriter::write_at(uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(partial_, "cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const uint8_t> bytes) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    throw CheckpointError(path_.string() + ": found tensor " + std::string(name) +
                          ", wanted one that was announced");
  }
  const TensorEntry& tensor = tensors_[found->second];
  if (written_[found->second]) {
    throw CheckpointError(path_.string() + ": tensor " + tensor.name +
                          ": found it written twice, wanted once");
  }
  if (bytes.size() != tensor.end - tensor.begin) {
    throw CheckpointError(path_.string() + ": tensor " + tensor.name + ": found " +
                          std::to_string(bytes.size()) + " bytes, wanted " +
                          std::to_string(tensor.end - tensor.begin));
  }
  write_at(tensor.begin, bytes);
  written_[found->second] = true;
}

void SafetensorsWriter::finish() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!written_[i]) {
      throw CheckpointError(path_.string() + ": tensor " + tensors_[i].name +
                            ": found nothing written, wanted its bytes");
    }
  }
  if (fsync(file_) != 0) fail(partial_, "cannot be made durable");
  if (close(std::exchange(file_, -1)) != 0) {
    unlink(partial_.c_str());
    fail(partial_, "cannot be closed");
  }
  publish(partial_, path_);
}

}  // namespace troupe::runtime
