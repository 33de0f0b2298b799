#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace troupe::deploy {

/// A disk of a stated size for a folder: a tmpfs that this process and its children alone see (own_mounts.h), so that
/// it goes with them whatever happens.
class SmallDisk {
 public:
  /// Why this process may not mount one. Empty: it may.
  static std::string why_none();
  /// Makes the folder. Throws std::runtime_error.
  SmallDisk(std::filesystem::path folder, uint64_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  /// Takes all the room that there is now: how many bytes. Throws std::runtime_error if the end that it meets is not
  /// that of the room.
  uint64_t fill();
  /// Gives it back.
  void clear();
  /// What the folder holds stays there, on the disk below.
  void keep();

 private:
  const std::filesystem::path folder_;
  bool is_mounted_ = true;
};

}  // namespace troupe::deploy
