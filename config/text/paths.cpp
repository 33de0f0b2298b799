#include "config/text/paths.h"

#include <fmt/format.h>

#include <cstdlib>

#include "config/text/errors.h"

namespace troupe::config {

std::filesystem::path cache_folder() {
  if (const char* cache = std::getenv("TROUPE_CACHE"); cache != nullptr && *cache != '\0') {
    return cache;
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') {
    throw ConfigError("${cache}: neither TROUPE_CACHE nor HOME is set, wanted one of them");
  }
  return std::filesystem::path(home) / ".cache" / "troupe";
}

std::string expand(const std::string& text) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t begin = text.find("${", at);
    if (begin == std::string::npos) return out + text.substr(at);
    const size_t end = text.find('}', begin);
    const std::string name = text.substr(begin, end == std::string::npos ? end : end - begin + 1);
    if (name != "${cache}") {
      throw ConfigError(fmt::format("found {} in the path {}, wanted ${{cache}}", name, text));
    }
    out += text.substr(at, begin - at) + cache_folder().string();
    at = end + 1;
  }
}

std::filesystem::path find_path(const std::filesystem::path& path,
                                const std::filesystem::path& from) {
  std::error_code ignored;
  if (path.is_absolute() || std::filesystem::exists(path, ignored)) return path;
  const auto absolute = std::filesystem::absolute(from, ignored).lexically_normal();
  for (auto folder = absolute.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    if (std::filesystem::exists(folder / path, ignored)) return folder / path;
    if (folder == folder.root_path()) break;
  }
  return path;
}

}  // namespace troupe::config
