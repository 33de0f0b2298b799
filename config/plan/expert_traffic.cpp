#include "config/plan/expert_traffic.h"

namespace troupe::config {
namespace {

constexpr int fp8_tile = 128;  // elements that share a scale of 4 bytes

double dispatched_bytes(Train::Precision precision, int width) {
  if (precision == Train::FP32) return 4.0 * width;
  if (precision == Train::BF16) return 2.0 * width;
  return width + 4.0 * ((width + fp8_tile - 1) / fp8_tile);
}

/// Experts of a shard, by group.
std::vector<int> held_by(const Model& model, const ExpertRange& range) {
  const int size = model.experts() / model.expert_groups();
  std::vector<int> held(static_cast<size_t>(model.expert_groups()), 0);
  for (int e = range.first; e < range.first + range.count; ++e) {
    ++held[static_cast<size_t>(e / size)];
  }
  return held;
}

/// Expected bytes that a shard answers a token with: of whole groups a sum, of others rows.
double answered_bytes(const Model& model, Train::Precision precision,
                      const std::vector<int>& held) {
  const int size = model.experts() / model.expert_groups();
  double bytes = 0;
  for (size_t group = 0; group < held.size(); ++group) {
    std::vector<int> alone(held.size(), 0);
    alone[group] = held[group];
    const double sums = 1 - chance_of_none(model, alone);
    const double rows = double{1} * model.experts_per_token() * held[group] / model.experts();
    bytes += held[group] == size ? sums * (precision == Train::FP32 ? 4 : 2) : rows * 4;
  }
  return bytes * model.hidden_size();
}

}  // namespace

double chance_of_none(const Model& model, const std::vector<int>& held) {
  const auto chosen = static_cast<size_t>(model.top_groups());
  const int open = model.top_groups() * (model.experts() / model.expert_groups());
  // Choices of so many groups that have so many of the held experts.
  std::vector<std::map<int, double>> ways(chosen + 1);
  ways[0][0] = 1;
  for (int of_group : held) {
    for (size_t c = chosen; c-- > 0;) {
      for (const auto& [n, count] : ways[c]) ways[c + 1][n + of_group] += count;
    }
  }
  double none = 0, all = 0;
  for (const auto& [n, count] : ways[chosen]) {
    double chance = 1;
    for (int k = 0; k < model.experts_per_token(); ++k) {
      chance *= k < open - n ? static_cast<double>(open - n - k) / (open - k) : 0;
    }
    none += count * chance;
    all += count;
  }
  return none / all;
}

ExpertTraffic::ExpertTraffic(const PlanArgs& args, const Plan& plan) : replicas_(plan.expert_replicas) {
  const Model& model = args.model.model;
  const auto precision = args.run.run.train().precision();
  if (model.experts() == 0) return;
  std::vector<double> answered;
  for (const ExpertRange& range : plan.experts) {
    answered.push_back(answered_bytes(model, precision, held_by(model, range)));
  }
  for (int i = 0; i < plan.pipeline * replicas_; ++i) {
    std::map<int, std::vector<int>> held;  // by process, then group
    auto& bytes = by_process_.emplace_back();
    for (size_t e = 0; e < plan.experts.size(); ++e) {
      const int process = plan.process_of_expert(i / replicas_, i % replicas_, static_cast<int>(e));
      const auto of_shard = held_by(model, plan.experts[e]);
      auto& of_process = held.try_emplace(process, of_shard.size(), 0).first->second;
      for (size_t group = 0; group < of_shard.size(); ++group) of_process[group] += of_shard[group];
      bytes[process] += 2 * answered[e];
    }
    for (const auto& [process, groups] : held) {
      bytes[process] += 2 * (1 - chance_of_none(model, groups)) *
                        dispatched_bytes(precision, model.hidden_size());
    }
  }
}

double ExpertTraffic::bytes(int stage, int replica, int process) const {
  double away = 0;
  if (by_process_.empty()) return away;
  for (const auto& [other, bytes] : by_process_[static_cast<size_t>(stage * replicas_ + replica)]) {
    away += other == process ? 0 : bytes;
  }
  return away;
}

}  // namespace troupe::config
