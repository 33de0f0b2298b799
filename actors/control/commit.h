// The decisions of a commit as pure functions: what the coordinator does with a step's sums.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "actors/control/spike.h"
#include "actors/train/timeline.h"
#include "runtime/proto/step.pb.h"

namespace troupe::actors {

/// Routing bias of all MoE layers, [MoE layers * E], and which commit made it.
struct RoutingBias {
  std::vector<float> values;
  uint64_t version = 0;  ///< the step whose commit it belongs to; 0 at the start
};

/// b_i += gamma * sign(mean load - load_i), layer by layer; equality changes nothing. `loads` has
/// the experts of one layer. Source: DeepSeek-V3 report, section 2.1.2.
void update_bias(std::span<float> bias, std::span<const int64_t> loads, double gamma);

/// (max load - mean) / mean, averaged over the layers that got rows: how far from balance.
double max_violation(std::span<const wire::Loads> loads);

/// What a step's workers have computed, summed: integers, so in any order.
struct StepSums {
  int64_t main_loss = 0;          ///< fixed point
  std::vector<int64_t> mtp_loss;  ///< fixed point, by module
  int64_t balance_loss = 0;       ///< fixed point
  std::vector<wire::Loads> loads;
  std::vector<double> block_norms;  ///< squared norm of each state block, by id
  uint32_t faults = 0;              ///< kernels::UnitFault bits
};

/// How a step is to be done, or done again.
struct Attempt {
  uint64_t step = 1;
  wire::Epoch epoch;
  int scale_bits = 50;
  bool is_repeat_of_nan = false;  ///< this attempt repeats one that met NaN or infinity
};

/// Sum law: out of range repeats the step with s - 8; NaN or infinity once more at the same s, and
/// if it repeats the recipe says stop or skip. No value: the attempt can be decided.
std::optional<Attempt> next_attempt(const Attempt& attempt, uint32_t faults);

/// "step 7 met NaN or infinity twice; train.on_nan is STOP".
std::string stop_message(const Attempt& attempt, uint32_t faults);

struct CommitInputs {
  const Recipe& recipe;
  const Attempt& attempt;
  const StepNumbers& numbers;    ///< of the attempt's step
  const wire::LossTrend& trend;  ///< of the record before
  const RoutingBias& bias;
  const StepSums& sums;
};

/// As a record has it.
wire::ScheduledNumbers scheduled_numbers(const StepNumbers& numbers);

/// The record of the step: loss, norm, clip factor, learning rate, loads, the new bias. A faulty
/// step, and a loss spike that the recipe skips, is recorded with apply = false, its bias unchanged.
wire::StepRecord make_record(const CommitInputs& inputs);

/// Why this record must not be committed: it is a loss spike and the recipe says stop. Empty: it
/// may.
std::string spike_objection(const Recipe& recipe, const wire::StepRecord& record);

/// What differs between a step that was done again and its journaled record, epochs aside: the
/// first field, and how many more. Empty: not a bit.
std::string replay_difference(const wire::StepRecord& found, const wire::StepRecord& wanted);

/// Weight decay of a tensor: none for vectors.
float weight_decay(const Recipe& recipe, const kernels::ParameterSpec& spec);

/// The numbers of the step's AdamW.
kernels::AdamWStep adamw_step(const Recipe& recipe, const wire::StepRecord& record);

}  // namespace troupe::actors
