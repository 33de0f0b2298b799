#include "runtime/data/text_file.h"

#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "runtime/data/error.h"

namespace troupe::runtime {

std::string read_text_file(const std::filesystem::path& path, std::uint64_t most_bytes) {
  const std::string name = path.string();
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) throw DataError(name + ": is a folder");
  errno = 0;
  // gzopen reads what is not gzip as it stands.
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(name.c_str(), "rb"), gzclose);
  if (!file) throw DataError(name + ": cannot be opened: " + std::strerror(errno));
  gzbuffer(file.get(), 1 << 17);
  std::string text;
  constexpr unsigned step = 1 << 20;
  for (;;) {
    const std::size_t size = text.size();
    text.resize(size + step);
    const int count = gzread(file.get(), text.data() + size, step);
    int code = Z_OK;
    const char* problem = gzerror(file.get(), &code);
    // A file that is cut off ends in Z_BUF_ERROR, behind the bytes that could be unpacked.
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      const std::string reason = code == Z_ERRNO ? std::strerror(errno) : problem;
      throw DataError(name + ": cannot be read: " + reason);
    }
    text.resize(size + static_cast<std::size_t>(count));
    if (text.size() > most_bytes) {
      throw DataError(name + ": more than " + std::to_string(most_bytes) +
                      " bytes; make a token file of it");
    }
    if (count == 0) break;
  }
  return text;
}

}  // namespace troupe::runtime
