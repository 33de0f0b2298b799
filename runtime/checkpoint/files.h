// Writing so that a file or folder is there in full or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace troupe::runtime {

/// The name under which `path` is written before it is complete: beside it, of this process alone.
std::filesystem::path partial_path(const std::filesystem::path& path);

/// Renames a durable file or folder to its name and makes the name durable. An existing file is
/// replaced, an existing folder refused. Throws CheckpointError.
void publish(const std::filesystem::path& partial, const std::filesystem::path& path);

/// Writes a small file durably under its own name. Throws CheckpointError.
void write_file(const std::filesystem::path& path, std::string_view text);

/// Reads a file of at most `most` bytes. Throws CheckpointError.
std::string read_file(const std::filesystem::path& path, uint64_t most);

/// Makes a file, or the names in a folder, durable. Throws CheckpointError.
void make_durable(const std::filesystem::path& path);

}  // namespace troupe::runtime
