#include "runtime/checkpoint/manifest.h"

#include <xxhash.h>

#include <cstring>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t largest_manifest = 64u << 20;

void check_files(const wire::CheckpointManifest& manifest, const std::string& name) {
  uint64_t next = 0;
  for (const wire::CheckpointFile& file : manifest.files()) {
    if (file.name().empty() || file.name().find('/') != std::string::npos || file.name() == ".." ||
        file.name() == ".") {
      throw CheckpointError(name + ": found the file name \"" + file.name() +
                            "\", wanted a name without a folder");
    }
    const bool follows = file.first_block() == next && file.blocks() > 0 &&
                         file.blocks() <= UINT64_MAX - next;
    if (!follows) {
      throw CheckpointError(name + ": " + file.name() + " holds " + std::to_string(file.blocks()) +
                            " blocks from " + std::to_string(file.first_block()) +
                            ", wanted some from " + std::to_string(next));
    }
    next += file.blocks();
  }
}

}  // namespace

StateFormat format_of(const wire::CheckpointManifest& manifest) {
  return {.moments = manifest.moments() == "bf16" ? kernels::DType::bf16 : kernels::DType::f32,
          .has_ema = manifest.has_ema()};
}

std::string frame_manifest(const wire::CheckpointManifest& manifest) {
  const std::string message = manifest.SerializeAsString();
  const uint64_t hash = XXH3_64bits(message.data(), message.size());
  std::string bytes(sizeof hash, '\0');
  std::memcpy(bytes.data(), &hash, sizeof hash);
  return bytes + message;
}

wire::CheckpointManifest parse_manifest(std::string_view bytes, const std::string& name) {
  uint64_t hash = 0;
  wire::CheckpointManifest manifest;
  const std::string_view message = bytes.substr(std::min(bytes.size(), sizeof hash));
  const bool is_whole =
      bytes.size() >= sizeof hash && bytes.size() <= largest_manifest &&
      (std::memcpy(&hash, bytes.data(), sizeof hash), true) &&
      XXH3_64bits(message.data(), message.size()) == hash &&
      manifest.ParseFromArray(message.data(), static_cast<int>(message.size()));
  if (!is_whole) throw CheckpointError(name + " is damaged");
  if (manifest.format() != 1) {
    throw CheckpointError(name + " is of format " + std::to_string(manifest.format()) +
                          ", wanted 1");
  }
  if (!manifest.moments().empty() && manifest.moments() != "f32" && manifest.moments() != "bf16") {
    throw CheckpointError(name + " has moments of type \"" + manifest.moments() +
                          "\", wanted f32 or bf16");
  }
  check_files(manifest, name);
  return manifest;
}

wire::CheckpointManifest read_manifest(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "manifest";
  wire::CheckpointManifest manifest =
      parse_manifest(read_file(path, largest_manifest), path.string());
  const std::string wanted = "step-" + std::to_string(manifest.record().step());
  if (checkpoint.filename() != wanted) {
    throw CheckpointError(path.string() + " is that of " + wanted);
  }
  return manifest;
}

}  // namespace troupe::runtime
