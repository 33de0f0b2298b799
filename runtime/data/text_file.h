#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace troupe::runtime {

/// The content of a file; a gzip file (.gz, and dictd's .dz) is unpacked. Throws DataError if it
/// cannot be read, is cut off or damaged, or has more than `most_bytes` unpacked.
std::string read_text_file(const std::filesystem::path& path,
                           std::uint64_t most_bytes = std::uint64_t{4} << 30);

}  // namespace troupe::runtime
