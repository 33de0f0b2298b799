#include "deploy/train/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "actors/control/commit.h"
#include "deploy/console.h"
#include "runtime/state/hash.h"

namespace troupe::deploy {
namespace {

namespace fs = std::filesystem;

std::string text_of(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

/// `evaluation`: of all held-out text, or of a source.
template <class Evaluation>
void add_evaluation(const Evaluation& evaluation, const std::string& prefix,
                    nlohmann::ordered_json& json) {
  json[prefix + "nats"] = evaluation.nats();
  json[prefix + "tokens"] = evaluation.tokens();
  json[prefix + "bytes"] = evaluation.bytes();
  json[prefix + "bits_per_byte"] = bits_per_byte(evaluation.nats(), evaluation.bytes());
  if (evaluation.has_ema_nats()) {
    json[prefix + "ema_nats"] = evaluation.ema_nats();
    json[prefix + "ema_bits_per_byte"] = bits_per_byte(evaluation.ema_nats(), evaluation.bytes());
  }
}

template <class Files>
void make_absolute(Files& files) {
  const auto absolute = [](std::string& path) { path = fs::absolute(path).string(); };
  std::for_each(files.mutable_text()->begin(), files.mutable_text()->end(), absolute);
  std::for_each(files.mutable_jsonl()->begin(), files.mutable_jsonl()->end(), absolute);
  std::for_each(files.mutable_tokens()->begin(), files.mutable_tokens()->end(), absolute);
}

}  // namespace

RunFolder::RunFolder(fs::path path)
    : path_(std::move(path)), lock_(std::make_unique<runtime::FolderLock>(path_)),
      metrics_(std::make_unique<LineFile>(path_ / "metrics.jsonl")) {}

fs::path RunFolder::choose(const fs::path& wanted, const std::string& run_name) {
  const fs::path path =
      !wanted.empty() ? wanted
                      : fs::path("runs") / (run_name + fmt::format("-{:%Y%m%d-%H%M%S}",
                                                                   fmt::localtime(std::time(nullptr))));
  if (fs::exists(path) && (!fs::is_directory(path) || !fs::is_empty(path))) {
    throw std::runtime_error(path.string() +
                             " holds something already; wanted a new folder for the run (--out), "
                             "or --resume to go on in it");
  }
  return path;
}

RunFolder RunFolder::create(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw std::runtime_error("cannot make " + path.string() + ": " + error.message());
  return RunFolder(path);
}

RunFolder RunFolder::open(const fs::path& path) {
  if (!fs::exists(path / "run.textproto")) {
    throw std::runtime_error(path.string() + " holds no run: found no run.textproto in it");
  }
  return RunFolder(path);
}

/// Paths become absolute: a resumed run may stand in another folder.
void RunFolder::write_run(config::Run run, const config::Model& model) const {
  const auto absolute = [](std::string& path) { path = fs::absolute(path).string(); };
  config::Data& data = *run.mutable_data();
  make_absolute(data);
  for (config::DataSource& source : *data.mutable_source()) make_absolute(source);
  if (run.model().has_file()) absolute(*run.mutable_model()->mutable_file());
  if (run.model().has_huggingface()) absolute(*run.mutable_model()->mutable_huggingface());
  write_file("run.textproto", text_of(run));
  write_file("model.textproto", text_of(model));
}

void RunFolder::write_file(const std::string& name, const std::string& content) const {
  fs::create_directories((path_ / name).parent_path());
  std::ofstream file(path_ / name, std::ios::binary);
  file << content << std::flush;
  if (!file) {
    throw std::runtime_error("cannot write " + (path_ / name).string() + ": " +
                             std::strerror(errno));
  }
}

void RunFolder::add_metrics(const wire::StepDone& done, const actors::StepNumbers& numbers,
                            std::span<const std::pair<std::string, uint64_t>> by_source) {
  const wire::StepRecord& record = done.record();
  nlohmann::ordered_json line;
  line["step"] = record.step();
  line["consumed_tokens"] = record.consumed_tokens();
  line["seq_len"] = numbers.sequence_rows;
  line["sequences"] = numbers.micro_batches * numbers.sequences;
  for (const auto& [source, sequences] : by_source) {
    line["sequences_by_source"][source] = sequences;
  }
  line["loss"] = record.loss();
  for (int m = 0; m < record.mtp_loss_size(); ++m) {
    line["mtp_loss" + (m == 0 ? std::string() : "_" + std::to_string(m + 1))] = record.mtp_loss(m);
  }
  line["balance_loss"] = record.balance_loss();
  line["grad_norm"] = record.gradient_norm();
  line["lr"] = record.learning_rate();
  line["gamma"] = numbers.gamma;
  line["mtp_weight"] = numbers.mtp_weight;
  line["max_violation"] = actors::max_violation(
      std::vector<wire::Loads>(record.loads().begin(), record.loads().end()));
  line["seconds"] = done.seconds();
  line["attempts"] = done.attempts();
  if (done.has_wire()) {
    line["wire_bytes"] = done.wire().wire_bytes();
    line["minimum_bytes"] = done.wire().minimum_bytes();
    line["copied_bytes"] = done.wire().copied_bytes();
    line["parcels"] = done.wire().parcels();
  }
  for (const wire::ProcessWork& one : done.work()) {
    line["busy_seconds"][std::to_string(one.process())] = one.busy_seconds();
  }
  for (const int share : done.shares()) line["shares"].push_back(share);
  line["applied"] = record.apply();
  if (record.has_trend()) {
    line["spike"] = record.is_spike();
    line["spikes"] = record.trend().spikes();
  }
  if (done.has_hash()) line["hash"] = runtime::to_hex(done.hash());
  metrics_->add(line.dump());
}

void RunFolder::add_metrics(const wire::Evaluation& evaluation) {
  nlohmann::ordered_json line;
  line["step"] = evaluation.state();
  add_evaluation(evaluation, "heldout_", line);
  for (const wire::SourceEvaluation& source : evaluation.sources()) {
    add_evaluation(source, "", line["heldout_sources"][source.name()]);
  }
  metrics_->add(line.dump());
}

}  // namespace troupe::deploy
