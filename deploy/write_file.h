#pragma once

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace troupe::deploy {

/// Throws std::runtime_error that names the file if it cannot be written whole.
inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content << std::flush;
  if (!file) throw std::runtime_error(path.string() + ": cannot be written");
}

}  // namespace troupe::deploy
