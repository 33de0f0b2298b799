#include "deploy/records/checkpoint_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "deploy/train/resume.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

double seconds_since(fs::file_time_type time) {
  return std::chrono::duration<double>(fs::file_time_type::clock::now() - time).count();
}

ListedCheckpoint describe(const wire::CheckpointManifest& manifest) {
  ListedCheckpoint listed{.step = manifest.record().step()};
  for (const wire::CheckpointFile& file : manifest.files()) listed.bytes += file.bytes();
  listed.files = manifest.files_size();
  listed.parameters = manifest.parameters();
  listed.format = runtime::format_of(manifest);
  listed.hash = runtime::to_hex(manifest.state_hash());
  listed.arithmetic = manifest.arithmetic();
  return listed;
}

std::string size_text(uint64_t bytes) {
  return bytes < 1u << 20 ? fmt::format("{:.1f}KiB", static_cast<double>(bytes) / 1024)
                          : fmt::format("{:.1f}MiB", static_cast<double>(bytes) / 0x1p20);
}

}  // namespace

std::vector<ListedCheckpoint> read_checkpoints(const fs::path& run) {
  std::vector<ListedCheckpoint> listed;
  std::vector<wire::CheckpointManifest> manifests;  // of those without damage, in the same order
  for (const runtime::CheckpointPlace& place : checkpoints_of(run)) {
    std::error_code gone;
    const auto written = fs::last_write_time(place.folder / "manifest", gone);
    try {
      manifests.push_back(runtime::read_manifest(place.folder));
      listed.push_back(describe(manifests.back()));
    } catch (const std::runtime_error& error) {
      if (!fs::exists(place.folder)) continue;
      listed.push_back({.step = place.step, .damage = error.what()});
    }
    if (!gone) listed.back().age_seconds = std::max(0.0, seconds_since(written));
  }
  // The journal after the checkpoints: what is saved has been journaled before.
  const auto history = runtime::read_journal(run / "journal");
  auto manifest = manifests.begin();
  for (ListedCheckpoint& checkpoint : listed) {
    if (checkpoint.damage.empty()) checkpoint.objection = objection_to(*manifest++, history);
  }
  return listed;
}

nlohmann::ordered_json to_json(const ListedCheckpoint& checkpoint) {
  nlohmann::ordered_json json{{"step", checkpoint.step}, {"age_seconds", checkpoint.age_seconds}};
  if (!checkpoint.damage.empty()) {
    json["damage"] = checkpoint.damage;
    return json;
  }
  json["bytes"] = checkpoint.bytes;
  json["files"] = checkpoint.files;
  json["parameters"] = checkpoint.parameters;
  json["moments"] = kernels::to_string(checkpoint.format.moments);
  json["ema"] = checkpoint.format.has_ema;
  json["hash"] = checkpoint.hash;
  json["arithmetic"] = checkpoint.arithmetic;
  json["in_journal"] = checkpoint.objection.empty();
  if (!checkpoint.objection.empty()) json["objection"] = checkpoint.objection;
  return json;
}

std::string to_table(std::span<const ListedCheckpoint> checkpoints) {
  if (checkpoints.empty()) return {};
  std::string text = fmt::format("{:>8}  {:>10}  {:>5}  {:>14}  {:16}  {:10}  {:>6}  {}\n", "step",
                                 "size", "files", "parameters", "hash", "arithmetic", "age",
                                 "journal");
  for (const ListedCheckpoint& c : checkpoints) {
    if (!c.damage.empty()) {
      text += fmt::format("{:>8}  {}\n", c.step, c.damage);
      continue;
    }
    text += fmt::format("{:>8}  {:>10}  {:>5}  {:>14}  {:16}  {:10}  {:>6}  {}\n", c.step,
                        size_text(c.bytes), c.files, c.parameters, c.hash, c.arithmetic,
                        age_text(c.age_seconds), c.objection.empty() ? "known" : c.objection);
  }
  return text;
}

std::string age_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

std::vector<runtime::CheckpointPlace> checkpoints_of(const fs::path& run) {
  if (!fs::exists(run / "run.textproto")) {
    throw std::runtime_error(run.string() + " holds no run: found no run.textproto in it");
  }
  return runtime::list_checkpoints(run / "checkpoints");
}

runtime::CheckpointPlace checkpoint_of(const fs::path& run, std::optional<uint64_t> step) {
  const auto places = checkpoints_of(run);
  if (places.empty()) throw std::runtime_error(run.string() + " holds no checkpoint");
  if (!step) return places.back();
  std::vector<uint64_t> steps;
  for (const runtime::CheckpointPlace& place : places) {
    if (place.step == *step) return place;
    steps.push_back(place.step);
  }
  throw std::runtime_error(fmt::format("{} holds no checkpoint of step {}, wanted one of {}",
                                       run.string(), *step, fmt::join(steps, ", ")));
}

std::string removed_text(const runtime::CheckpointPlace& place) {
  return "was removed while it was read: the run keeps newer ones than step " +
         std::to_string(place.step);
}

}  // namespace troupe::deploy
