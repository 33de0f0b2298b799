// What stands in the manifest of a state checkpoint: its bytes apart from files, and the file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "runtime/proto/checkpoint.pb.h"
#include "runtime/state/arena.h"

namespace troupe::runtime {

/// The bytes of a manifest file: xxh3 of the message (u64, little-endian), then the message.
std::string frame_manifest(const wire::CheckpointManifest& manifest);

/// What the state in the files is made of. `manifest` has been parsed.
StateFormat format_of(const wire::CheckpointManifest& manifest);

/// Throws CheckpointError unless the bytes are whole and of format 1, its moments are of a known
/// type, and the files hold blocks
/// from 0 on without a gap under names without a folder. `name` stands for the file in messages.
wire::CheckpointManifest parse_manifest(std::string_view bytes, const std::string& name);

/// The manifest of `checkpoint`, a folder step-N; none of its files is read. Throws
/// CheckpointError, also when it is that of another step.
wire::CheckpointManifest read_manifest(const std::filesystem::path& checkpoint);

}  // namespace troupe::runtime
