#include "actors/train/timeline.h"

#include <algorithm>
#include <limits>

#include "config/phases.h"

namespace troupe::actors {
namespace {

constexpr uint64_t endless = std::numeric_limits<uint64_t>::max();
/// No run comes here; sums of tokens stay below.
constexpr uint64_t most_tokens = uint64_t{1} << 62;

/// Consumed tokens after `steps` more steps of `tokens` each.
uint64_t after(uint64_t consumed, uint64_t steps, uint64_t tokens) {
  if (consumed >= most_tokens || steps > (most_tokens - consumed) / tokens) return most_tokens;
  return consumed + steps * tokens;
}

/// Tokens at which the curve's next point stands; infinite behind the last.
double next_point(const config::Curve& curve, double tokens) {
  for (const config::CurvePoint& point : curve.to()) {
    if (point.tokens() > tokens) return point.tokens();
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace

double value_at(const config::Curve& curve, double tokens) {
  double begin = 0, before = curve.start();
  for (const config::CurvePoint& point : curve.to()) {
    if (tokens >= point.tokens()) {
      begin = point.tokens();
      before = point.value();
      continue;
    }
    const double part = (tokens - begin) / (point.tokens() - begin);
    return curve_between(point.shape(), before, point.value(), part);
  }
  return before;
}

Timeline::Timeline(const Recipe& recipe) : recipe_(recipe) {
  phases_.push_back({.after_steps = 0,
                     .sequences = recipe.sequences,
                     .sequence_rows = recipe.sequence_rows,
                     .micro_batches = {},
                     .learning_rate = {},
                     .yarn = recipe.shape.yarn,
                     .max_positions = recipe.shape.max_positions});
  phases_.insert(phases_.end(), recipe.phases.begin(), recipe.phases.end());
  for (size_t phase = 0; phase < phases_.size(); ++phase) {
    const bool is_last = phase + 1 == phases_.size();
    add_phase(phase, is_last ? endless : static_cast<uint64_t>(phases_[phase + 1].after_steps));
  }
}

void Timeline::add_phase(size_t phase, uint64_t last_step) {
  Stretch next{1, 0, 0, phase, 0};
  if (!stretches_.empty()) {
    const Stretch& before = stretches_.back();
    next.first_step = static_cast<uint64_t>(phases_[phase].after_steps) + 1;
    next.consumed_tokens = after(before.consumed_tokens, next.first_step - before.first_step,
                                 static_cast<uint64_t>(tokens_per_step(before)));
  }
  while (next.first_step <= last_step) {
    next.micro_batches = micro_batches_at(phase, next.consumed_tokens);
    const bool goes_on = !stretches_.empty() && stretches_.back().phase == phase &&
                         stretches_.back().micro_batches == next.micro_batches;
    if (!goes_on) stretches_.push_back(next);
    const uint64_t left = last_step == endless ? endless : last_step - next.first_step + 1;
    const uint64_t steps = equal_steps(next, left);
    if (steps == endless) return;
    const auto sequences = static_cast<uint64_t>(next.micro_batches * phases_[phase].sequences);
    next.first_step += steps;
    next.consumed_tokens = after(next.consumed_tokens, steps,
                                 static_cast<uint64_t>(tokens_per_step(next)));
    next.first_sequence += steps * sequences;
  }
}

int64_t Timeline::micro_batches_at(size_t phase, uint64_t consumed_tokens) const {
  if (phases_[phase].micro_batches) return *phases_[phase].micro_batches;
  const config::Schedule& schedule = recipe_.schedule;
  if (!schedule.has_micro_batches()) return recipe_.micro_batches;
  const double value = value_at(schedule.micro_batches(), static_cast<double>(consumed_tokens));
  return config::rounded_micro_batches(schedule, value);
}

/// How many steps from the stretch's first on have its number of micro-batches, up to the curve's
/// next point: between points the number goes one way, so it can be searched by halves.
uint64_t Timeline::equal_steps(const Stretch& stretch, uint64_t most) const {
  if (phases_[stretch.phase].micro_batches || !recipe_.schedule.has_micro_batches()) return most;
  const auto consumed = static_cast<double>(stretch.consumed_tokens);
  const double point = next_point(recipe_.schedule.micro_batches(), consumed);
  if (point == std::numeric_limits<double>::infinity()) return most;
  const auto tokens = static_cast<uint64_t>(tokens_per_step(stretch));
  const double steps_to_point = (point - consumed) / static_cast<double>(tokens);
  uint64_t low = 1, high = std::min(most, static_cast<uint64_t>(steps_to_point) + 1);
  while (low < high) {
    const uint64_t middle = low + (high - low + 1) / 2;
    const uint64_t at = after(stretch.consumed_tokens, middle - 1, tokens);
    const bool is_equal = micro_batches_at(stretch.phase, at) == stretch.micro_batches;
    (is_equal ? low : high) = is_equal ? middle : middle - 1;
  }
  return low;
}

int64_t Timeline::tokens_per_step(const Stretch& stretch) const {
  const RunPhase& phase = phases_[stretch.phase];
  return stretch.micro_batches * phase.sequences * phase.sequence_rows;
}

const Timeline::Stretch& Timeline::stretch_of(uint64_t step) const {
  const auto behind = std::upper_bound(
      stretches_.begin() + 1, stretches_.end(), step,
      [](uint64_t number, const Stretch& stretch) { return number < stretch.first_step; });
  return *(behind - 1);
}

/// The warm-up is a factor on whatever gives the rate.
double Timeline::rate_at(uint64_t step, size_t phase, double consumed_tokens) const {
  const auto number = static_cast<int64_t>(step);
  const bool is_fixed = phases_[phase].learning_rate.has_value();
  if (!is_fixed && !recipe_.schedule.has_learning_rate()) {
    return learning_rate(recipe_.optimizer, number, recipe_.steps);
  }
  const double rate = is_fixed ? *phases_[phase].learning_rate
                               : value_at(recipe_.schedule.learning_rate(), consumed_tokens);
  const int64_t warmup = recipe_.optimizer.warmup_steps();
  if (number >= warmup) return rate;
  return rate * static_cast<double>(number) / static_cast<double>(warmup);
}

StepNumbers Timeline::at(uint64_t step) const {
  const Stretch& stretch = stretch_of(step);
  const RunPhase& phase = phases_[stretch.phase];
  const uint64_t steps = step - stretch.first_step;
  StepNumbers numbers{};
  numbers.consumed_tokens = after(stretch.consumed_tokens, steps,
                                  static_cast<uint64_t>(tokens_per_step(stretch)));
  numbers.phase = stretch.phase;
  numbers.begins_phase = step == static_cast<uint64_t>(phase.after_steps) + 1;
  numbers.first_sequence =
      stretch.first_sequence +
      steps * static_cast<uint64_t>(stretch.micro_batches * phase.sequences);
  numbers.sequences = phase.sequences;
  numbers.micro_batches = stretch.micro_batches;
  numbers.sequence_rows = phase.sequence_rows;
  const auto consumed = static_cast<double>(numbers.consumed_tokens);
  const config::Schedule& schedule = recipe_.schedule;
  numbers.learning_rate = rate_at(step, stretch.phase, consumed);
  numbers.gamma = schedule.has_gamma() ? value_at(schedule.gamma(), consumed) : recipe_.gamma;
  numbers.mtp_weight = schedule.has_mtp_weight() ? value_at(schedule.mtp_weight(), consumed)
                                                 : recipe_.mtp_weight;
  return numbers;
}

const RunPhase& Timeline::phase_of_state(uint64_t state) const {
  return phases_[stretch_of(std::max<uint64_t>(state, 1)).phase];
}

Recipe Timeline::recipe_of_state(uint64_t state) const {
  const RunPhase& phase = phase_of_state(state);
  Recipe recipe = recipe_;
  recipe.sequences = phase.sequences;
  recipe.sequence_rows = phase.sequence_rows;
  recipe.shape.yarn = phase.yarn;
  recipe.shape.max_positions = phase.max_positions;
  return recipe;
}

}  // namespace troupe::actors
