// What the run folder of an arm says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "deploy/bench/median.h"

namespace troupe::deploy {

struct ArmResult {
  std::string name;
  int64_t parameters = 0;
  int64_t cache_bytes = 0;        ///< a token, in BF16
  int64_t peak_bytes = 0;         ///< resident memory of the process, at most; 0: not known
  std::vector<double> losses;     ///< of the main model, step by step
  std::vector<double> max_violations;
  std::vector<double> tokens_per_second;
  double heldout_loss = 0;        ///< nats a token, after the last step
  double heldout_bits_per_byte = 0;
  std::string hash;               ///< of the last state

  /// Mean over the last steps of a list: `share` of it, at least one.
  static double last_mean(const std::vector<double>& values, double share);
  double last_loss() const { return last_mean(losses, 0.1); }
  double last_max_violation() const { return last_mean(max_violations, 0.1); }
  double median_tokens_per_second() const { return median(tokens_per_second); }
};

/// Reads metrics.jsonl, run.textproto and the model of a finished run. Throws std::runtime_error
/// that names the folder if it does not hold one.
ArmResult read_arm_result(const std::string& name, const std::filesystem::path& folder);

/// Mean of (loss - base's loss) / base's loss, both smoothed, over the last quarter of the steps.
double relative_loss_difference(const ArmResult& arm, const ArmResult& base);

/// Steps that losses are smoothed over.
constexpr int smoothing_steps = 20;

/// Exponential mean with a weight of 2 / (steps + 1) for the newest, begun at the first.
std::vector<double> smoothed(const std::vector<double>& values, int steps);

}  // namespace troupe::deploy
