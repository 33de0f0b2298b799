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

constexpr uint64_t blocks_per_file = 256;  // 256 MiB at most

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
    const std::span<const uint8_t> bytes = snapshot.bytes(id);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    XXH3_64bits_update(hasher, bytes.data(), bytes.size());
    entry.set_bytes(entry.bytes() + bytes.size());
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
  manifest.set_arithmetic(snapshot.arithmetic);
  *manifest.mutable_record() = snapshot.record;
  manifest.set_state_hash(snapshot.state_hash);
  manifest.set_parameters(snapshot.parameters);
  manifest.set_moments(kernels::to_string(snapshot.format.moments));
  manifest.set_has_ema(snapshot.format.has_ema);
  for (uint64_t first = 0; first < snapshot.blocks.size(); first += blocks_per_file) {
    *manifest.add_files() = write_blocks(partial, snapshot, first);
  }
  write_file(partial / "manifest", frame_manifest(manifest));
}

int64_t bytes_of(const kernels::Tensor& t) { return t.count() * kernels::size_of(t.dtype); }

size_t block_bytes(const StateArena& arena, int64_t id) {
  return static_cast<size_t>(arena.blocks()[static_cast<size_t>(id)].count *
                             stored_bytes_per_parameter(arena.format()));
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
                            const wire::StepRecord& record, std::string_view arithmetic) {
  StateSnapshot snapshot;
  snapshot.record = record;
  snapshot.arithmetic = arithmetic;
  snapshot.format = arena.format();
  snapshot.parameters = static_cast<uint64_t>(arena.parameter_count());
  snapshot.blocks.resize(arena.blocks().size());
  snapshot.block_hashes.resize(arena.blocks().size());
  queue.run(static_cast<int64_t>(snapshot.blocks.size()), [&](int64_t id) {
    // Memory that a step has had and another will have: what is saved between steps costs none.
    kernels::Buffer& copy = snapshot.blocks[static_cast<size_t>(id)];
    copy = kernels::allocate(kernels::DType::i32, {static_cast<int64_t>(block_bytes(arena, id) / 4)});
    auto* out = static_cast<uint8_t*>(copy.view.data);
    for (const kernels::Tensor& part : arena.block(id, record.step()).parts()) {
      const auto n = static_cast<size_t>(bytes_of(part));
      if (n > 0) std::memcpy(out, part.data, n);
      out += n;
    }
    const auto bytes = snapshot.bytes(static_cast<uint64_t>(id));
    snapshot.block_hashes[static_cast<size_t>(id)] = XXH3_64bits(bytes.data(), bytes.size());
  });
  queue.wait();
  const std::vector<float> bias(record.bias().begin(), record.bias().end());
  snapshot.state_hash = state_hash(arena, {arithmetic, record.consumed_tokens(), bias,
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

namespace {

void load_blocks(const fs::path& checkpoint, const wire::CheckpointManifest& manifest, StateArena& arena) {
  const uint64_t state = manifest.record().step();
  int64_t next = 0;
  const auto blocks = static_cast<int64_t>(arena.blocks().size());
  for (const auto& entry : manifest.files()) {
    with_file(checkpoint, entry, [&](std::span<const uint8_t> bytes) {
      for (uint64_t i = 0; i < entry.blocks(); ++i, ++next) {
        if (next >= blocks || bytes.size() < block_bytes(arena, next)) {
          throw CheckpointError((checkpoint / entry.name()).string() +
                                " does not hold the blocks of this model");
        }
        for (const kernels::Tensor& part : arena.block(next, state).parts()) {
          const auto n = static_cast<size_t>(bytes_of(part));
          if (n > 0) std::memcpy(part.data, bytes.data(), n);
          bytes = bytes.subspan(n);
        }
        arena.set_stamp(next, state);
      }
    });
  }
  if (next == blocks) return;
  throw CheckpointError(checkpoint.string() + " holds " + std::to_string(next) + " blocks, wanted " +
                        std::to_string(blocks));
}

}  // namespace

wire::CheckpointManifest load_checkpoint(const fs::path& checkpoint, StateArena& arena) {
  wire::CheckpointManifest manifest = read_manifest(checkpoint);
  if (manifest.parameters() != static_cast<uint64_t>(arena.parameter_count())) {
    throw CheckpointError(checkpoint.string() + " holds " + std::to_string(manifest.parameters()) +
                          " parameters, wanted " + std::to_string(arena.parameter_count()));
  }
  if (format_of(manifest) != arena.format()) {
    throw CheckpointError(checkpoint.string() + " holds " + describe(format_of(manifest)) +
                          ", wanted " + describe(arena.format()));
  }
  try {
    load_blocks(checkpoint, manifest, arena);
  } catch (const std::runtime_error&) {
    arena.forget();  // another state may be put there, of which this would be a part
    throw;
  }
  return manifest;
}

}  // namespace troupe::runtime
