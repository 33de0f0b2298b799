#include "runtime/checkpoint/state_checkpoint.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "runtime/checkpoint/error.h"
#include "runtime/checkpoint/files.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/data/mapped_file.h"
#include "runtime/state/hash.h"

namespace troupe::runtime {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t blocks_per_file = 256;  // 192 MiB at most

uint64_t elements_of(const Block& block) { return 3 * static_cast<uint64_t>(block.count); }

wire::CheckpointFile write_blocks(const fs::path& folder, const StateSnapshot& snapshot,
                                  uint64_t first) {
  const uint64_t count = std::min<uint64_t>(blocks_per_file, snapshot.blocks.size() - first);
  wire::CheckpointFile entry;
  entry.set_name("blocks-" + std::to_string(first));
  entry.set_first_block(first);
  entry.set_blocks(count);
  const fs::path path = folder / entry.name();
  std::ofstream file(path, std::ios::binary);
  XXH3_state_t* hasher = XXH3_createState();
  XXH3_64bits_reset(hasher);
  for (uint64_t id = first; id < first + count; ++id) {
    const auto& values = snapshot.blocks[id];
    const size_t bytes = values.size() * sizeof(float);
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(bytes));
    XXH3_64bits_update(hasher, values.data(), bytes);
    entry.set_bytes(entry.bytes() + bytes);
  }
  entry.set_xxh3(XXH3_64bits_digest(hasher));
  XXH3_freeState(hasher);
  file.flush();
  if (!file) throw CheckpointError("cannot write " + path.string() + " (is the disk full?)");
  file.close();
  make_durable(path);
  return entry;
}

void write_all(const fs::path& partial, const StateSnapshot& snapshot) {
  wire::CheckpointManifest manifest;
  manifest.set_format(1);
  manifest.set_arithmetic(std::string(cpu_arithmetic));
  *manifest.mutable_record() = snapshot.record;
  manifest.set_state_hash(snapshot.state_hash);
  uint64_t elements = 0;
  for (const auto& block : snapshot.blocks) elements += block.size();
  manifest.set_parameters(elements / 3);
  for (uint64_t first = 0; first < snapshot.blocks.size(); first += blocks_per_file) {
    *manifest.add_files() = write_blocks(partial, snapshot, first);
  }
  write_file(partial / "manifest", frame_manifest(manifest));
}

/// Checks one file and hands out its bytes.
template <class F>
void with_file(const fs::path& checkpoint, const wire::CheckpointFile& entry, F f) {
  const fs::path path = checkpoint / entry.name();
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.size() != entry.bytes()) {
    throw CheckpointError(path.string() + " has " + std::to_string(bytes.size()) +
                          " bytes, wanted " + std::to_string(entry.bytes()));
  }
  if (XXH3_64bits(bytes.data(), bytes.size()) != entry.xxh3()) {
    throw CheckpointError(path.string() + " is damaged: its hash is not the manifest's");
  }
  f(bytes);
}

/// The step that is written behind "step-"; none if `digits` is no number.
std::optional<uint64_t> step_named(const std::string& digits) {
  const bool is_number = !digits.empty() && digits.size() < 19 &&
                         digits.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? std::optional(std::stoull(digits)) : std::nullopt;
}

/// Takes its name away first: removing is many steps, and one that is half there looks damaged.
void remove_checkpoint(const fs::path& path) {
  if (!fs::exists(path)) return;
  fs::path nameless = path;
  nameless += ".removed-" + std::to_string(getpid());
  fs::remove_all(nameless);
  fs::rename(path, nameless);
  fs::remove_all(nameless);
}

/// Folders step-N.partial-* and step-N.removed-*.
void remove_leftovers(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const size_t dot = name.find('.');
    if (!name.starts_with("step-") || dot == std::string::npos) continue;
    const std::string ending = name.substr(dot);
    const bool is_ours = ending.starts_with(".partial-") || ending.starts_with(".removed-");
    if (is_ours && step_named(name.substr(5, dot - 5))) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) fs::remove_all(leftover);
}

}  // namespace

StateSnapshot take_snapshot(StateArena& arena, kernels::Queue& queue,
                            const wire::StepRecord& record) {
  StateSnapshot snapshot;
  snapshot.record = record;
  snapshot.blocks.resize(arena.blocks().size());
  snapshot.block_hashes.resize(arena.blocks().size());
  queue.run(static_cast<int64_t>(snapshot.blocks.size()), [&](int64_t id) {
    const BlockState state = arena.block(id, record.step());
    const size_t n = static_cast<size_t>(state.weight.count());
    auto& out = snapshot.blocks[static_cast<size_t>(id)];
    out.resize(3 * n);
    std::copy_n(kernels::values<float>(state.weight), n, out.data());
    std::copy_n(kernels::values<float>(state.moment1), n, out.data() + n);
    std::copy_n(kernels::values<float>(state.moment2), n, out.data() + 2 * n);
    snapshot.block_hashes[static_cast<size_t>(id)] =
        XXH3_64bits(out.data(), out.size() * sizeof(float));
  });
  queue.wait();
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  snapshot.state_hash = state_hash(arena, {cpu_arithmetic, record.consumed_tokens(), bias,
                                           snapshot.block_hashes});
  return snapshot;
}

void write_checkpoint(const fs::path& folder, const StateSnapshot& snapshot) {
  const fs::path path = folder / ("step-" + std::to_string(snapshot.record.step()));
  const fs::path partial = partial_path(path);
  std::error_code ignored;
  try {
    fs::create_directories(partial);
    write_all(partial, snapshot);
    remove_checkpoint(path);  // replaced: it was refused, or is of a replay
    publish(partial, path);
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(partial, ignored);
    throw CheckpointError(error.what());
  } catch (const CheckpointError&) {
    fs::remove_all(partial, ignored);
    throw;
  }
}

std::vector<CheckpointPlace> list_checkpoints(const fs::path& folder) {
  std::vector<CheckpointPlace> places;
  if (!fs::is_directory(folder)) return places;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const auto step = name.starts_with("step-") ? step_named(name.substr(5)) : std::nullopt;
    if (step && entry.is_directory()) places.push_back({*step, entry.path()});
  }
  std::sort(places.begin(), places.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return places;
}

void retain_checkpoints(const fs::path& folder, int64_t keep) {
  remove_leftovers(folder);
  if (keep <= 0) return;
  const auto places = list_checkpoints(folder);
  const auto all = static_cast<int64_t>(places.size());
  for (int64_t i = 0; i < all - keep; ++i) remove_checkpoint(places[static_cast<size_t>(i)].folder);
}

std::vector<std::string> find_damage(const fs::path& checkpoint,
                                     const wire::CheckpointManifest& manifest) {
  std::vector<std::string> damage;
  for (const auto& entry : manifest.files()) {
    try {
      with_file(checkpoint, entry, [](std::span<const uint8_t>) {});
    } catch (const std::runtime_error& error) {
      damage.push_back(error.what());
    }
  }
  return damage;
}

wire::CheckpointManifest verify_checkpoint(const fs::path& checkpoint) {
  wire::CheckpointManifest manifest = read_manifest(checkpoint);
  for (const auto& entry : manifest.files()) {
    with_file(checkpoint, entry, [](std::span<const uint8_t>) {});
  }
  return manifest;
}

wire::CheckpointManifest load_checkpoint(const fs::path& checkpoint, StateArena& arena) {
  wire::CheckpointManifest manifest = read_manifest(checkpoint);
  if (manifest.parameters() != static_cast<uint64_t>(arena.parameter_count())) {
    throw CheckpointError(checkpoint.string() + " holds " + std::to_string(manifest.parameters()) +
                          " parameters, wanted " + std::to_string(arena.parameter_count()));
  }
  const uint64_t state = manifest.record().step();
  uint64_t next = 0;
  for (const auto& entry : manifest.files()) {
    with_file(checkpoint, entry, [&](std::span<const uint8_t> bytes) {
      for (uint64_t i = 0; i < entry.blocks(); ++i, ++next) {
        const size_t want = next < arena.blocks().size()
                                ? elements_of(arena.blocks()[next]) * sizeof(float)
                                : bytes.size() + 1;
        if (bytes.size() < want) {
          throw CheckpointError((checkpoint / entry.name()).string() +
                                " does not hold the blocks of this model");
        }
        const BlockState block = arena.block(static_cast<int64_t>(next), state);
        const size_t n = static_cast<size_t>(block.weight.count()) * sizeof(float);
        std::memcpy(block.weight.data, bytes.data(), n);
        std::memcpy(block.moment1.data, bytes.data() + n, n);
        std::memcpy(block.moment2.data, bytes.data() + 2 * n, n);
        arena.set_stamp(static_cast<int64_t>(next), state);
        bytes = bytes.subspan(want);
      }
    });
  }
  if (next != arena.blocks().size()) {
    throw CheckpointError(checkpoint.string() + " holds " + std::to_string(next) +
                          " blocks, wanted " + std::to_string(arena.blocks().size()));
  }
  return manifest;
}

}  // namespace troupe::runtime
