#include "deploy/ablate/arm_result.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "config/load.h"
#include "config/parameters.h"

namespace troupe::deploy {
namespace {

void read_line(const nlohmann::json& line, double& consumed, ArmResult& result) {
  if (line.contains("heldout_nats")) {
    const double tokens = line.at("heldout_tokens").get<double>();
    result.heldout_loss = line.at("heldout_nats").get<double>() / std::max(tokens, 1.0);
    result.heldout_bits_per_byte = line.at("heldout_bits_per_byte").get<double>();
    return;
  }
  if (!line.contains("max_violation")) return;
  result.losses.push_back(line.at("loss").get<double>());
  result.max_violations.push_back(line.at("max_violation").get<double>());
  const double tokens = line.at("consumed_tokens").get<double>();
  const double seconds = line.at("seconds").get<double>();
  if (seconds > 0) result.tokens_per_second.push_back((tokens - consumed) / seconds);
  consumed = tokens;
  if (line.contains("hash")) result.hash = line.at("hash").get<std::string>();
}

}  // namespace

double ArmResult::last_mean(const std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const size_t n = std::max<size_t>(1, static_cast<size_t>(share * static_cast<double>(values.size())));
  double sum = 0;
  for (size_t i = values.size() - n; i < values.size(); ++i) sum += values[i];
  return sum / static_cast<double>(n);
}

ArmResult read_arm_result(const std::string& name, const std::filesystem::path& folder) {
  ArmResult result;
  result.name = name;
  std::ifstream metrics(folder / "metrics.jsonl");
  double consumed = 0;
  int64_t number = 0;
  for (std::string line; std::getline(metrics, line);) {
    ++number;
    try {
      read_line(nlohmann::json::parse(line), consumed, result);
    } catch (const nlohmann::json::exception& e) {
      throw std::runtime_error((folder / "metrics.jsonl").string() + ":" + std::to_string(number) +
                               ": " + e.what());
    }
  }
  if (result.losses.empty()) {
    throw std::runtime_error(folder.string() + " holds no finished run: found no step in " +
                             "metrics.jsonl");
  }
  const auto model = config::load_model(folder / "model.textproto").model;
  const auto counts = config::count_parameters(model);
  result.parameters = counts.total + counts.mtp;
  result.cache_bytes = config::cache_bytes_per_token(model, 2);
  return result;
}

std::vector<double> smoothed(const std::vector<double>& values, int steps) {
  std::vector<double> out;
  const double weight = 2.0 / (steps + 1.0);
  for (const double v : values) {
    out.push_back(out.empty() ? v : out.back() + weight * (v - out.back()));
  }
  return out;
}

double relative_loss_difference(const ArmResult& arm, const ArmResult& base) {
  const auto a = smoothed(arm.losses, smoothing_steps);
  const auto b = smoothed(base.losses, smoothing_steps);
  const size_t n = std::min(a.size(), b.size()), first = n - std::max<size_t>(1, n / 4);
  double sum = 0;
  for (size_t i = first; i < n; ++i) sum += (a[i] - b[i]) / b[i];
  return n == 0 ? 0 : sum / static_cast<double>(n - first);
}

}  // namespace troupe::deploy
