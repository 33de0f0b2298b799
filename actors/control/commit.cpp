#include "actors/control/commit.h"

#include <google/protobuf/text_format.h>

#include <algorithm>

#include "kernels/ops/fixed_point.h"

namespace troupe::actors {
namespace {

using google::protobuf::FieldDescriptor;

wire::StepRecord only(const wire::StepRecord& record, const FieldDescriptor& field) {
  wire::StepRecord part = record;
  const auto& type = *record.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i) != &field) part.GetReflection()->ClearField(&part, type.field(i));
  }
  return part;
}

/// "loss 5.1", or "bias[17] 0.001": of a repeated field element `index`.
std::string field_text(const wire::StepRecord& record, const FieldDescriptor& field, int index) {
  const int size = field.is_repeated() ? record.GetReflection()->FieldSize(record, &field) : 0;
  if (field.is_repeated() && index >= size) return std::to_string(size) + " of " + field.name();
  std::string value;
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  printer.PrintFieldValueToString(record, &field, field.is_repeated() ? index : -1, &value);
  if (value.ends_with(' ')) value.pop_back();  // behind a message
  const std::string place = field.is_repeated() ? "[" + std::to_string(index) + "]" : "";
  return field.name() + place + " " + value;
}

/// The first element that differs, up to the end of the shorter list.
int first_difference(const wire::StepRecord& a, const wire::StepRecord& b,
                     const FieldDescriptor& field) {
  if (!field.is_repeated()) return 0;
  const auto& reflection = *a.GetReflection();
  const int common = std::min(reflection.FieldSize(a, &field), reflection.FieldSize(b, &field));
  int index = 0;
  while (index < common && field_text(a, field, index) == field_text(b, field, index)) ++index;
  return index;
}

/// A faulty step's loss says nothing, and leaves the trend as it is.
void judge_loss(const CommitInputs& in, wire::StepRecord& record) {
  const config::Spike& spike = *in.recipe.spike;
  const wire::LossTrend before = in.numbers.begins_phase ? new_trend(in.trend) : in.trend;
  if (in.sums.faults != 0) {
    *record.mutable_trend() = before;
    return;
  }
  record.set_is_spike(is_spike(spike, before, record.loss()));
  if (record.is_spike() && spike.policy() == config::Spike::SKIP) record.set_apply(false);
  *record.mutable_trend() = next_trend(spike, before, record.loss());
}

}  // namespace

void update_bias(std::span<float> bias, std::span<const int64_t> loads, double gamma) {
  int64_t total = 0;
  for (const int64_t load : loads) total += load;
  const auto step = static_cast<float>(gamma);
  const auto experts = static_cast<int64_t>(loads.size());
  for (size_t i = 0; i < loads.size(); ++i) {
    const int64_t scaled = loads[i] * experts;  // compared with the total: no rounding of a mean
    if (scaled < total) bias[i] += step;
    if (scaled > total) bias[i] -= step;
  }
}

double max_violation(std::span<const wire::Loads> loads) {
  double sum = 0;
  int64_t layers = 0;
  for (const wire::Loads& layer : loads) {
    int64_t total = 0, most = 0;
    for (const int64_t rows : layer.rows()) {
      total += rows;
      most = std::max(most, rows);
    }
    if (total == 0) continue;
    const double mean = static_cast<double>(total) / layer.rows_size();
    sum += (static_cast<double>(most) - mean) / mean;
    ++layers;
  }
  return layers == 0 ? 0.0 : sum / static_cast<double>(layers);
}

std::optional<Attempt> next_attempt(const Attempt& attempt, uint32_t faults) {
  Attempt next = attempt;
  next.epoch.set_n(attempt.epoch.n() + 1);
  if (faults & kernels::unit_not_finite) {
    if (attempt.is_repeat_of_nan) return std::nullopt;
    next.is_repeat_of_nan = true;
    return next;
  }
  if (faults & kernels::unit_out_of_range) {
    if (attempt.scale_bits < 8) return std::nullopt;
    next.scale_bits = attempt.scale_bits - 8;
    return next;
  }
  return std::nullopt;
}

std::string stop_message(const Attempt& attempt, uint32_t faults) {
  const std::string met = faults & kernels::unit_not_finite
                              ? "NaN or infinity twice"
                              : "gradients beyond the fixed-point range at every scale";
  return "step " + std::to_string(attempt.step) + " met " + met + "; train.on_nan is STOP";
}

wire::ScheduledNumbers scheduled_numbers(const StepNumbers& numbers) {
  wire::ScheduledNumbers out;
  out.set_phase(static_cast<uint32_t>(numbers.phase));
  out.set_micro_batches(numbers.micro_batches);
  out.set_sequences(numbers.sequences);
  out.set_sequence_rows(numbers.sequence_rows);
  out.set_gamma(numbers.gamma);
  out.set_mtp_weight(numbers.mtp_weight);
  return out;
}

std::string spike_objection(const Recipe& recipe, const wire::StepRecord& record) {
  if (!record.is_spike() || recipe.spike->policy() != config::Spike::STOP) return {};
  return spike_text(record) + "; train.spike.policy is STOP";
}

wire::StepRecord make_record(const CommitInputs& in) {
  const Recipe& recipe = in.recipe;
  const int s = in.attempt.scale_bits;
  wire::StepRecord record;
  record.set_step(in.attempt.step);
  *record.mutable_epoch() = in.attempt.epoch;
  record.set_consumed_tokens(in.numbers.consumed_tokens +
                             static_cast<uint64_t>(in.numbers.tokens()));
  record.set_loss(kernels::from_fixed_point(in.sums.main_loss, s));
  for (const int64_t loss : in.sums.mtp_loss) {
    record.add_mtp_loss(kernels::from_fixed_point(loss, s));
  }
  record.set_balance_loss(kernels::from_fixed_point(in.sums.balance_loss, s));
  record.set_scale_bits(s);
  record.set_apply(in.sums.faults == 0);
  if (recipe.spike) judge_loss(in, record);
  const double norm = kernels::global_norm(in.sums.block_norms);
  record.set_gradient_norm(norm);
  record.set_clip_factor(kernels::clip_factor(norm, recipe.optimizer.clip()));
  record.set_learning_rate(in.numbers.learning_rate);
  if (recipe.is_scheduled()) *record.mutable_scheduled() = scheduled_numbers(in.numbers);
  std::vector<float> bias = in.bias.values;
  const auto experts = static_cast<size_t>(recipe.shape.experts);
  for (size_t layer = 0; layer < in.sums.loads.size(); ++layer) {
    const auto& rows = in.sums.loads[layer].rows();
    *record.add_loads() = in.sums.loads[layer];
    if (!record.apply() || in.numbers.gamma == 0.0) continue;
    update_bias(std::span(bias).subspan(layer * experts, experts),
                std::span(rows.data(), static_cast<size_t>(rows.size())), in.numbers.gamma);
  }
  record.mutable_bias()->Add(bias.begin(), bias.end());
  return record;
}

std::string replay_difference(const wire::StepRecord& found, const wire::StepRecord& wanted) {
  const auto& type = *found.GetDescriptor();
  std::string first;
  int differing = 0;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.number() == wire::StepRecord::kEpochFieldNumber) continue;
    if (only(found, field).SerializeAsString() == only(wanted, field).SerializeAsString()) continue;
    if (++differing > 1) continue;
    const int index = first_difference(found, wanted, field);
    first = "step " + std::to_string(found.step()) + " done again came to " +
            field_text(found, field, index) + ", the journal has " +
            field_text(wanted, field, index);
  }
  if (differing > 1) first += "; " + std::to_string(differing - 1) + " more differ";
  return first;
}

float weight_decay(const Recipe& recipe, const kernels::ParameterSpec& spec) {
  return spec.is_matrix() ? static_cast<float>(recipe.optimizer.weight_decay()) : 0.0f;
}

kernels::AdamWStep adamw_step(const Recipe& recipe, const wire::StepRecord& record) {
  const auto beta1 = static_cast<float>(recipe.optimizer.beta1());
  const auto beta2 = static_cast<float>(recipe.optimizer.beta2());
  const auto t = static_cast<int64_t>(record.step());
  return {.learning_rate = static_cast<float>(record.learning_rate()),
          .beta1 = beta1,
          .beta2 = beta2,
          .eps = static_cast<float>(recipe.optimizer.eps()),
          .clip = record.clip_factor(),
          .correction1 = kernels::bias_correction(beta1, t),
          .correction2 = kernels::bias_correction(beta2, t)};
}

}  // namespace troupe::actors
