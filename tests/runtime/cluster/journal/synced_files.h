// What a power cut leaves of a folder's files: of each what was synced last. The test program's own
// fsync and fdatasync stand in front of the C library's, keep book, and call the system.
#pragma once

#include <filesystem>

namespace troupe::tests {

/// Cuts every file in `folder` to its length when it was last synced; one that never was is gone, and
/// so is one whose name was not there when the folder was last synced.
void cut_power(const std::filesystem::path& folder);

/// The next sync of a folder or of a file fails with EIO and does nothing.
void fail_next_folder_sync();
void fail_next_file_sync();

}  // namespace troupe::tests
