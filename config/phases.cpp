#include "config/phases.h"

#include <algorithm>
#include <cmath>

#include "config/schedule_checks.h"

namespace troupe::config {

namespace {

/// Of values that have not been validated too.
int32_t stretched(const Yarn& yarn) {
  const double positions = yarn.factor() * yarn.original_max_position();
  if (!(positions >= 0)) return 0;
  return static_cast<int32_t>(std::min(positions, static_cast<double>(longest_sequence)));
}

const PhaseSettings& settings_at(const std::vector<PhaseSettings>& phases, uint64_t state) {
  size_t phase = phases.size() - 1;
  while (phase > 0 && static_cast<uint64_t>(phases[phase].after_steps) >= state) --phase;
  return phases[phase];
}

}  // namespace

ModelPositions positions_of(const Model& model) {
  return {model.max_positions(),
          model.has_yarn() ? model.yarn().original_max_position() : model.max_positions()};
}

std::vector<PhaseSettings> phases_of(const Run& run, ModelPositions model) {
  std::vector<PhaseSettings> phases{
      {0, run.data().seq_len(), run.train().micro_batch(), {}, {}, {}, model.max}};
  for (const Phase& phase : run.train().phase()) {
    PhaseSettings next = phases.back();
    next.after_steps = phase.after_steps();
    if (phase.has_seq_len()) next.seq_len = phase.seq_len();
    if (phase.has_micro_batch()) next.micro_batch = phase.micro_batch();
    if (phase.has_micro_batches()) next.micro_batches = phase.micro_batches();
    if (phase.has_learning_rate()) next.learning_rate = phase.learning_rate();
    if (phase.has_yarn()) {
      next.yarn = phase.yarn();
      if (!phase.yarn().has_original_max_position()) {
        next.yarn->set_original_max_position(model.original);
      }
      next.max_positions = stretched(*next.yarn);
    }
    phases.push_back(std::move(next));
  }
  return phases;
}

Model model_at(const Run& run, const Model& model, uint64_t state) {
  const auto phases = phases_of(run, positions_of(model));
  const PhaseSettings& settings = settings_at(phases, state);
  Model changed = model;
  if (settings.yarn) *changed.mutable_yarn() = *settings.yarn;
  changed.set_max_positions(settings.max_positions);
  return changed;
}

int32_t seq_len_at(const Run& run, const Model& model, uint64_t state) {
  const auto phases = phases_of(run, positions_of(model));
  return settings_at(phases, state).seq_len;
}

int64_t rounded_micro_batches(const Schedule& schedule, double number) {
  const double multiple = schedule.micro_batches_multiple();
  return static_cast<int64_t>(std::max(std::floor(number / multiple + 0.5), 1.0) * multiple);
}

StepExtents largest_step(const Run& run) {
  const Train& train = run.train();
  const Schedule& schedule = train.schedule();
  int64_t micro_batches = train.micro_batches();
  if (schedule.has_micro_batches()) {
    micro_batches = rounded_micro_batches(schedule, schedule.micro_batches().start());
    for (const CurvePoint& point : schedule.micro_batches().to()) {
      micro_batches = std::max(micro_batches, rounded_micro_batches(schedule, point.value()));
    }
  }
  StepExtents largest{0, 0, 0};
  for (const PhaseSettings& phase : phases_of(run, {0, 0})) {
    micro_batches = std::max<int64_t>(micro_batches, phase.micro_batches.value_or(0));
    largest.seq_len = std::max(largest.seq_len, phase.seq_len);
    largest.micro_batch_tokens =
        std::max(largest.micro_batch_tokens, int64_t{phase.micro_batch} * phase.seq_len);
  }
  largest.micro_batches = static_cast<int32_t>(micro_batches);
  return largest;
}

}  // namespace troupe::config
