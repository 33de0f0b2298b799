// Paths that a user wrote in a run file.
#pragma once

#include <filesystem>
#include <string>

namespace troupe::config {

/// Where downloaded texts and built libraries lie: $TROUPE_CACHE, or $HOME/.cache/troupe.
std::filesystem::path cache_folder();

/// `text` with ${cache} replaced. Any other ${...} throws ConfigError.
std::string expand(const std::string& text);

/// The first of these that exists: `path` from the current folder, from the folder of `from`, from
/// the folders above that. `path` itself if none does.
std::filesystem::path find_path(const std::filesystem::path& path,
                                const std::filesystem::path& from);

}  // namespace troupe::config
