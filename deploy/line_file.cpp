#include "deploy/line_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace troupe::deploy {

LineFile::LineFile(const std::filesystem::path& path)
    : path_(path), file_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (file_ < 0) {
    throw std::runtime_error("cannot write " + path_.string() + ": " + std::strerror(errno));
  }
}

LineFile::~LineFile() { ::close(file_); }

/// A process that was killed while it wrote has left a part of a line, which nobody could read.
off_t LineFile::cut_scrap() const {
  const off_t size = ::lseek(file_, 0, SEEK_END);
  off_t end = size;
  for (char byte = 0; end > 0 && ::pread(file_, &byte, 1, end - 1) == 1 && byte != '\n';) --end;
  return end == size || ::ftruncate(file_, end) == 0 ? end : size;
}

void LineFile::add(const std::string& line) {
  const off_t end = cut_scrap();
  const std::string text = line + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(file_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = errno;
      const bool is_cut = end >= 0 && ::ftruncate(file_, end) == 0;
      throw std::runtime_error("cannot write " + path_.string() + ": " + std::strerror(error) +
                               (is_cut ? "" : "; a part of a line stands at its end"));
    }
    done += static_cast<size_t>(written);
  }
}

}  // namespace troupe::deploy
