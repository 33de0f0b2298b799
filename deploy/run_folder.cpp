#include "deploy/run_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <ctime>
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

}  // namespace

RunFolder::RunFolder(const fs::path& path, const std::string& run_name) : path_(path) {
  if (path_.empty()) {
    path_ = fs::path("runs") /
            (run_name + fmt::format("-{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr))));
  }
  std::error_code error;
  if (fs::exists(path_) && (!fs::is_directory(path_) || !fs::is_empty(path_))) {
    throw std::runtime_error(path_.string() +
                             " holds something already; wanted a new folder for the run (--out)");
  }
  fs::create_directories(path_, error);
  if (error) throw std::runtime_error("cannot make " + path_.string() + ": " + error.message());
  metrics_.open(path_ / "metrics.jsonl", std::ios::app);
  if (!metrics_) throw std::runtime_error("cannot write " + (path_ / "metrics.jsonl").string());
}

void RunFolder::write_run(const config::Run& run, const config::Model& model) const {
  write_file("run.textproto", text_of(run));
  write_file("model.textproto", text_of(model));
}

void RunFolder::write_file(const std::string& name, const std::string& content) const {
  std::ofstream file(path_ / name, std::ios::binary);
  file << content << std::flush;
  if (!file) throw std::runtime_error("cannot write " + (path_ / name).string());
}

void RunFolder::add_metrics(const wire::StepDone& done) {
  const wire::StepRecord& record = done.record();
  nlohmann::ordered_json line;
  line["step"] = record.step();
  line["consumed_tokens"] = record.consumed_tokens();
  line["loss"] = record.loss();
  for (int m = 0; m < record.mtp_loss_size(); ++m) {
    line["mtp_loss" + (m == 0 ? std::string() : "_" + std::to_string(m + 1))] = record.mtp_loss(m);
  }
  line["balance_loss"] = record.balance_loss();
  line["grad_norm"] = record.gradient_norm();
  line["lr"] = record.learning_rate();
  line["max_violation"] = actors::max_violation(
      std::vector<wire::Loads>(record.loads().begin(), record.loads().end()));
  line["seconds"] = done.seconds();
  line["attempts"] = done.attempts();
  line["applied"] = record.apply();
  if (done.has_hash()) line["hash"] = runtime::to_hex(done.hash());
  metrics_ << line.dump() << std::endl;
}

void RunFolder::add_metrics(const wire::Evaluation& evaluation) {
  nlohmann::ordered_json line;
  line["step"] = evaluation.state();
  line["heldout_nats"] = evaluation.nats();
  line["heldout_tokens"] = evaluation.tokens();
  line["heldout_bytes"] = evaluation.bytes();
  line["heldout_bits_per_byte"] = bits_per_byte(evaluation);
  metrics_ << line.dump() << std::endl;
}

}  // namespace troupe::deploy
