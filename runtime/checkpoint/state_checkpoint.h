// Checkpoints of a run's state: `checkpoints/step-N/`, a file per range of blocks, every byte
// hashed; the manifest last, then the folder gets its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <span>
#include <vector>

#include "runtime/proto/checkpoint.pb.h"
#include "runtime/state/arena.h"

namespace troupe::runtime {

/// A state copied out of the arena, to be written while training goes on.
struct StateSnapshot {
  wire::StepRecord record;
  std::string arithmetic;
  StateFormat format;
  uint64_t parameters = 0;
  std::vector<kernels::Buffer> blocks;  ///< by id: its parts, one behind the other; see `bytes`
  std::vector<uint64_t> block_hashes;   ///< by id
  uint64_t state_hash = 0;

  std::span<const uint8_t> bytes(uint64_t block) const {
    const kernels::Tensor& all = blocks[block].view;
    return {static_cast<const uint8_t*>(all.data),
            static_cast<size_t>(all.count() * kernels::size_of(all.dtype))};
  }
};

/// Copies state `record.step()` on the queue's threads and waits. The caller sees to it that no
/// apply writes over that state meanwhile. Hashes what it copies.
StateSnapshot take_snapshot(StateArena& arena, kernels::Queue& queue,
                            const wire::StepRecord& record, std::string_view arithmetic);

/// Writes `folder`/step-N and makes it durable. Throws CheckpointError; then nothing of it stays.
void write_checkpoint(const std::filesystem::path& folder, const StateSnapshot& snapshot);

/// Removes all but the newest `keep` checkpoints (0: keeps all), and what processes that died while
/// they wrote or removed one have left. A reader sees a checkpoint whole or not at all. One process
/// at a time may write into `folder`.
void retain_checkpoints(const std::filesystem::path& folder, int64_t keep);

struct CheckpointPlace {
  uint64_t step;
  std::filesystem::path folder;
};
/// Complete checkpoints, ascending. Unfinished ones (of a process that died) are not listed.
std::vector<CheckpointPlace> list_checkpoints(const std::filesystem::path& folder);

/// Reads every file that the manifest names; a text for each that is missing, cut or altered.
std::vector<std::string> find_damage(const std::filesystem::path& checkpoint,
                                     const wire::CheckpointManifest& manifest);

/// Reads the manifest and checks size and hash of every file. Throws CheckpointError naming the
/// first file that is missing, cut or altered.
wire::CheckpointManifest verify_checkpoint(const std::filesystem::path& checkpoint);

/// The same, and fills the arena's state N. The arena's parameters and format must be the
/// checkpoint's.
wire::CheckpointManifest load_checkpoint(const std::filesystem::path& checkpoint,
                                         StateArena& arena);

}  // namespace troupe::runtime
