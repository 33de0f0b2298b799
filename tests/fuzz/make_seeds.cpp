// make_seeds FOLDER: small inputs that the parsers accept, a folder a fuzzer.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/safetensors_header.h"
#include "runtime/cluster/journal/journal_format.h"
#include "runtime/data/tokenizer/bpe_trainer.h"
#include "runtime/data_plane/parcel_format.h"
#include "runtime/state/unit_file.h"
#include "runtime/telemetry/cell_layout.h"
#include "runtime/telemetry/cells.h"
#include "runtime/telemetry/event_format.h"
#include "runtime/telemetry/trace/trace_file.h"

namespace fs = std::filesystem;
using namespace troupe;

static fs::path out;

static void seed(const std::string& fuzzer, const std::string& name, const std::string& bytes) {
  fs::create_directories(out / fuzzer);
  std::ofstream(out / fuzzer / name, std::ios::binary) << bytes;
}

static std::string source_file(const std::string& path) {
  std::ifstream file(fs::path(TROUPE_SOURCE_DIR) / path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

static wire::StepRecord record_of(uint64_t step) {
  wire::StepRecord record;
  record.set_step(step);
  record.mutable_epoch()->set_term(1);
  record.set_consumed_tokens(64 * step);
  record.set_loss(5.5);
  record.add_mtp_loss(5.75);
  record.add_loads()->add_rows(3);
  record.add_bias(0.001f);
  record.set_apply(true);
  return record;
}

static void seed_journal() {
  wire::JournalEntry opened, commit, applied;
  opened.mutable_opened()->set_term(1);
  opened.mutable_opened()->set_arithmetic("cpu.1");
  *commit.mutable_commit() = record_of(1);
  applied.mutable_applied()->set_step(1);
  applied.mutable_applied()->set_hash(42);
  std::string file = runtime::journal_magic(), payloads;
  uint64_t chain = 0;
  for (const auto& entry : {opened, commit, applied}) {
    file += runtime::frame_entry(entry, chain);
    const std::string payload = entry.SerializeAsString();
    payloads += static_cast<char>(payload.size()) + payload;
  }
  seed("journal", "file", file);
  seed("journal", "torn", file.substr(0, file.size() - 3));
  seed("journal", "payloads", payloads);
}

/// As parcels_fuzz takes them: how many tensors, bytes of the letter, number, packed bytes.
static void seed_parcels() {
  const kernels::Buffer rows = kernels::allocate_f32({2, 3}), ids = kernels::allocate(kernels::DType::i32, {5});
  kernels::zero_now(rows);
  kernels::zero_now(ids);
  for (const bool has_checksums : {false, true}) {
    runtime::Parcel parcel{"letter", {{rows.view, rows.memory}, {ids.view, ids.memory}}};
    runtime::PackedParcel packed = runtime::pack(std::move(parcel), 1, has_checksums);
    std::string bytes{2, 6, has_checksums ? '\x80' : '\0', 7};
    bytes.append(packed.packed.get(), packed.packed_bytes);
    seed("parcels", has_checksums ? "checked" : "plain", bytes);
  }
}

static void seed_events() {
  wire::Event event;
  event.set_unix_us(1);
  event.set_kind(wire::Event::ACTOR_RESTARTED);
  event.set_actor("stage/0.0");
  event.set_text("text");
  const std::string record = runtime::frame_event(event), payload = event.SerializeAsString();
  const std::string magic(runtime::event_log_magic);
  seed("events", "file", magic + record + record);
  seed("events", "damaged", magic + record.substr(3) + record + record.substr(0, 9));
  seed("events", "payloads", static_cast<char>(payload.size()) + payload);
  seed("events", "event", payload);
}

/// The bytes of a process's own cells, as cells_fuzz takes them.
static void seed_cells() {
  const auto glass = runtime::Glass::create(out.string());
  runtime::Cell& cell = *glass->hire(
      {.role = "stage", .name = "stage/0", .parent = "node", .incarnation = 1, .restarts = 0});
  cell.arrived();
  cell.begin(glass->kind("forward"), {.step = 3, .micro_batch = 1, .layer = 2});
  cell.waiting_for(glass->kind("answers"), 4);
  cell.failed("an error");
  std::ifstream file(glass->path(), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (bytes.size() < runtime::cell_file_bytes) return;  // no folder took it
  const std::string one = bytes.substr(sizeof(runtime::FileHeader), sizeof(runtime::CellSlot));
  const std::string header = bytes.substr(offsetof(runtime::FileHeader, is_tsc), 4) +
                             bytes.substr(offsetof(runtime::FileHeader, base_ticks), 16) +
                             bytes.substr(offsetof(runtime::FileHeader, names), 4 * 32) +
                             bytes.substr(offsetof(runtime::FileHeader, run_folder), 64);
  seed("cells", "steady", std::string(1, '\0') + header + one + one);
  seed("cells", "changing", std::string(1, '\1') + header + one + one + one);
  seed("cells", "raw", std::string(1, '\2') + bytes.substr(0, 96));
}

static void seed_manifest() {
  wire::CheckpointManifest manifest;
  manifest.set_format(1);
  manifest.set_arithmetic("cpu.1");
  *manifest.mutable_record() = record_of(1);
  manifest.set_parameters(9);
  wire::CheckpointFile& file = *manifest.add_files();
  file.set_name("blocks-0");
  file.set_bytes(108);
  file.set_blocks(1);
  seed("manifest", "framed", runtime::frame_manifest(manifest));
  seed("manifest", "message", manifest.SerializeAsString());
}

static void seed_units() {
  wire::StepUnits step;
  step.set_format(1);
  step.set_step(1);
  step.add_tensors("a.weight");
  for (const auto kind : {wire::UnitHash::WEIGHTS, wire::UnitHash::FORWARD_MESSAGE,
                          wire::UnitHash::BACKWARD_MESSAGE, wire::UnitHash::GRADIENT,
                          wire::UnitHash::GRADIENT_SUM}) {
    wire::UnitHash& unit = *step.add_units();
    unit.set_kind(kind);
    unit.set_micro_batch(1);
    unit.set_layer(2);
    unit.set_edge(wire::UnitHash::TO_EXPERT);
    unit.set_part(3);
    unit.set_hash(42);
  }
  seed("units", "framed", runtime::frame_units(step));
  seed("units", "message", step.SerializeAsString());
}

static void seed_safetensors() {
  std::vector<runtime::TensorEntry> tensors{
      {.name = "a.weight", .dtype = runtime::FileDType::f32, .shape = {2, 3}, .begin = 0, .end = 0},
      {.name = "b", .dtype = runtime::FileDType::bf16, .shape = {}, .begin = 0, .end = 0}};
  const std::string header = runtime::make_header(tensors, {{"format", "pt"}});
  seed("safetensors", "two", header + std::string(26, '\0'));
  tensors.clear();
  seed("safetensors", "none", runtime::make_header(tensors, {}));
}

static void seed_tokenizer() {
  runtime::BpeTrainer trainer;
  trainer.add("the the then there this that, the 1234 the hat of the other");
  const std::string text = runtime::write_tokenizer_json(trainer.train(272));
  seed("tokenizer", "trained", text);
  // The same with other components.
  auto json = nlohmann::ordered_json::parse(text);
  json["pre_tokenizer"] = nlohmann::ordered_json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "Split", "pattern": {"String": "t"}, "behavior": "MergedWithNext", "invert": true},
      {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|[^\\p{L}]"}, "behavior": "Removed",
       "invert": false},
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]})");
  json["normalizer"] = nlohmann::ordered_json::parse(R"({"type": "Sequence", "normalizers": []})");
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][1]["single_word"] = true;
  json["added_tokens"][2]["normalized"] = true;
  json["model"]["ignore_merges"] = true;
  seed("tokenizer", "components", json.dump());
}

static void seed_regex() {
  const char* patterns[] = {
      R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f]+", R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
      R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+)", R"((?<=a)b{2,}?|\d++|(?>x*)y)"};
  for (size_t i = 0; i < std::size(patterns); ++i) {
    const std::string text = "It's 1234\n abb\u4e2d xxy";
    seed("regex", std::to_string(i), patterns[i] + std::string(1, '\0') + text);
  }
}

static void seed_jsonl() {
  seed("jsonl", "text", R"({"text": "one \u00e9 \ud83d\ude00"})" "\n\n" R"({"text": ""})");
  seed("jsonl", "messages", R"({"messages": [{"role": "user", "content": "a"},)"
                            R"({"role": "assistant", "content": "b"}]})");
  seed("jsonl", "pair", R"({"prompt": "a", "completion": "b", "other": [1, 2.5e3, null]})" "\r\n");
  seed("jsonl", "plain", "entry\n  indented\n\nnext\n\n\n  not one\n");
}

static void seed_trace() {
  using Kind = config::Operation::Kind;
  runtime::TracePart part;
  part.origin.schedule = "COMBINED_ONE_F_ONE_B";
  runtime::TracedList& list = part.lists.emplace_back();
  list.step = 2;
  list.begin_ns = 100;
  list.end_ns = 9000;
  for (const config::Operation& operation :
       {config::Operation{Kind::forward, 0, 0}, {Kind::forward, 0, 1, true}, {Kind::backward, 0, 0}}) {
    runtime::TracedOperation& each = list.operations.emplace_back();
    each.operation = operation;
    each.ready_ns = 200;
    each.begin_ns = operation == config::Operation{Kind::forward, 0, 0} ? 300 : 500;
    each.end_ns = each.begin_ns + 200;
  }
  const fs::path file = out / "trace" / "part";
  runtime::write_trace_part(file, part);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "wanted: make_seeds FOLDER\n";
    return 2;
  }
  out = argv[1];
  seed_journal();
  seed_events();
  seed_parcels();
  seed_cells();
  seed_manifest();
  seed_units();
  seed_safetensors();
  seed_tokenizer();
  seed_regex();
  seed_jsonl();
  seed_trace();
  for (const char* folder : {"plain", "yarn-mtp", "fp8"}) {
    const std::string path = std::string("tests/goldens/") + folder + "/config.json";
    seed("huggingface_config", folder, source_file(path));
  }
  seed("run_textproto", "sections", R"(model { file: "m.textproto" with { layers: 3 mtp_layers: 0 } }
data { text: "a" text: "b" jsonl: "c" tokens: "d" tokenizer { file: "t.json" } seq_len: 8
  holdout: 0.1 }
train { steps: 3 micro_batch: 1 micro_batches: 4
  optimizer { lr: 1e-3 warmup_steps: 1 decay: COSINE final_lr: 1e-5 } on_nan: SKIP hash_every: 2 }
parallel { pipeline: 2 data: 2 expert: 2 attention: 2 schedule: ONE_F_ONE_B optimizer: 3 }
cluster { threads: 2 nodes: 1 redundancy: 0 } checkpoint { every: 2 keep: 1 } out: "o")");
  for (const char* folder : {"config/models", "config/runs"}) {
    const bool is_model = std::string(folder) == "config/models";
    for (const auto& entry : fs::directory_iterator(fs::path(TROUPE_SOURCE_DIR) / folder)) {
      const std::string name = entry.path().filename();
      const std::string text = source_file(std::string(folder) + "/" + name);
      seed(is_model ? "model_textproto" : "run_textproto", name, text);
      if (!is_model) seed("run_textproto", name + "-set", "!train.steps=7\n" + text);
    }
  }
  return 0;
}
