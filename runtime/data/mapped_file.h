#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace troupe::runtime {

/// A file whose bytes are read where they lie. It must not be cut shorter while this lives.
class MappedFile {
 public:
  /// Throws DataError if it cannot be mapped. An empty file has no bytes.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace troupe::runtime
