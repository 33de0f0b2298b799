// Where cell files stand, how one is made, and which ones nobody needs any more.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/telemetry/cell_layout.h"

namespace troupe::runtime {

/// Zeroed memory of cell_file_bytes.
struct CellMemory {
  void* memory = nullptr;
  std::filesystem::path path;  ///< empty: of this process alone
  std::string note;            ///< why; empty: the first folder took it
};

/// Folders for cell files, best first: /dev/shm, $TMPDIR, /tmp.
std::vector<std::filesystem::path> cell_folders();

/// Makes a file in the first folder that has room for it, with all of its space reserved: later
/// writes cannot fail. Where none has, plain memory. Throws std::bad_alloc if there is none either.
CellMemory make_cell_memory(const std::vector<std::filesystem::path>& folders);
/// Unmaps; removes the file if there is one.
void release_cell_memory(const CellMemory& memory);

/// This user's cell files in these folders, whatever stands in them.
std::vector<std::filesystem::path> find_cell_files(
    const std::vector<std::filesystem::path>& folders);

/// What tells whose a file is.
struct CellFileOwner {
  pid_t pid = 0;
  std::string run_folder;
  bool is_alive = false;
  bool is_judgeable = false;  ///< false: another pid namespace's, or not readable as a cell file
};
CellFileOwner owner_of(const std::filesystem::path& path);

/// Removes files of dead processes: those of `run_folder`, and those older than a day.
void remove_dead_cell_files(const std::vector<std::filesystem::path>& folders,
                            const std::string& run_folder);

}  // namespace troupe::runtime
