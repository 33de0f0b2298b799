#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace troupe::deploy {

/// A file that lines are added to. It never holds a part of a line, also when the disk was full; what a process
/// that was killed has left of one goes when the next line is added.
class LineFile {
 public:
  /// Throws std::runtime_error if it cannot be opened.
  explicit LineFile(const std::filesystem::path& path);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  /// Adds `line` and a newline. Throws std::runtime_error, with the file as it was, if it cannot.
  void add(const std::string& line);

 private:
  off_t cut_scrap() const;

  const std::filesystem::path path_;
  int file_;
};

}  // namespace troupe::deploy
