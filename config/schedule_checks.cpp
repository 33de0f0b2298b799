#include "config/schedule_checks.h"

#include <algorithm>
#include <cmath>

#include "config/phases.h"

namespace troupe::config {

namespace {

constexpr int most_points = 32;
constexpr int most_phases = 32;
constexpr double most_tokens = 1e18;

/// `value` of a curve must be in [low, high].
struct CurveRange {
  double low;
  double high;
};

void check_curve(const Curve& curve, const std::string& at, CurveRange range, Checks& checks) {
  if (!curve.has_start()) checks.add(at + ".start", "nothing", "the value at 0 tokens");
  if (curve.has_start()) checks.in_range(at + ".start", curve.start(), range.low, range.high);
  if (curve.to_size() > most_points) {
    checks.add(at + ".to", fmt::format("{} points", curve.to_size()),
               fmt::format("at most {}", most_points));
    return;
  }
  double before = 0;
  for (int i = 0; i < curve.to_size(); ++i) {
    const CurvePoint& point = curve.to(i);
    const std::string place = fmt::format("{}.to[{}]", at, i);
    checks.in_range(place + ".value", point.has_value() ? point.value() : std::nan(""), range.low,
                    range.high);
    if (!(point.tokens() > before) || point.tokens() > most_tokens) {
      checks.add(place + ".tokens", fmt::format("{}", point.tokens()),
                 fmt::format("more than {}, at most {}", before, most_tokens));
    }
    before = point.tokens();
  }
}

/// The timeline of a run has an entry for each number of micro-batches that a curve goes through.
void check_micro_batches(const Schedule& schedule, Checks& checks) {
  const std::string at = "train.schedule.micro_batches";
  checks.in_range(at + "_multiple", schedule.micro_batches_multiple(), 1, most_micro_batches);
  check_curve(schedule.micro_batches(), at, {1.0, static_cast<double>(most_micro_batches)}, checks);
  if (!checks.passed()) return;
  double before = schedule.micro_batches().start(), changes = 0;
  for (const CurvePoint& point : schedule.micro_batches().to()) {
    changes += std::abs(point.value() - before) / schedule.micro_batches_multiple();
    before = point.value();
  }
  if (changes <= most_micro_batches) return;
  checks.add(at, fmt::format("{:.0f} numbers on the way", changes),
             fmt::format("at most {}; a larger {}_multiple", most_micro_batches, at));
}

/// What a curve replaces must be left out.
void check_replaced(const Train& train, Checks& checks) {
  const auto refuse = [&](bool is_set, const char* field, double value, const char* curve) {
    if (!is_set) return;
    checks.add(field, fmt::format("{}", value),
               fmt::format("nothing: train.schedule.{} is there", curve));
  };
  const Schedule& schedule = train.schedule();
  const Optimizer& optimizer = train.optimizer();
  if (schedule.has_learning_rate()) {
    refuse(optimizer.has_lr(), "train.optimizer.lr", optimizer.lr(), "learning_rate");
    refuse(optimizer.has_final_lr(), "train.optimizer.final_lr", optimizer.final_lr(),
           "learning_rate");
    if (optimizer.decay() != Optimizer::CONSTANT) {
      checks.add("train.optimizer.decay", Optimizer::Decay_Name(optimizer.decay()),
                 "nothing: train.schedule.learning_rate is there");
    }
  }
  if (schedule.has_micro_batches()) {
    refuse(train.has_micro_batches(), "train.micro_batches", train.micro_batches(),
           "micro_batches");
  }
  if (schedule.has_gamma()) {
    refuse(train.routing().has_gamma(), "train.routing.gamma", train.routing().gamma(), "gamma");
  }
  if (schedule.has_mtp_weight()) {
    refuse(train.has_mtp_weight(), "train.mtp_weight", train.mtp_weight(), "mtp_weight");
  }
}

void check_curves(const Train& train, Checks& checks) {
  const Schedule& schedule = train.schedule();
  const CurveRange not_negative{0.0, std::numeric_limits<double>::max()};
  if (schedule.has_micro_batches()) check_micro_batches(schedule, checks);
  if (schedule.has_learning_rate()) {
    check_curve(schedule.learning_rate(), "train.schedule.learning_rate", not_negative, checks);
  }
  if (schedule.has_gamma()) {
    check_curve(schedule.gamma(), "train.schedule.gamma", not_negative, checks);
  }
  if (schedule.has_mtp_weight()) {
    check_curve(schedule.mtp_weight(), "train.schedule.mtp_weight", not_negative, checks);
  }
  check_replaced(train, checks);
}

void check_phase(const Phase& phase, const PhaseSettings& settings, const std::string& at,
                 int32_t shortest, Checks& checks) {
  const auto in = [&](const char* field, bool is_set, int32_t value, int32_t low, int32_t high) {
    if (is_set) checks.in_range(at + "." + field, value, low, high);
  };
  in("micro_batch", phase.has_micro_batch(), phase.micro_batch(), 1, 1 << 16);
  in("micro_batches", phase.has_micro_batches(), phase.micro_batches(), 1, most_micro_batches);
  if (phase.has_learning_rate()) {
    checks.not_negative(at + ".learning_rate", phase.learning_rate());
  }
  if (phase.has_yarn()) {
    check_yarn(*settings.yarn, at + ".yarn", checks);
    const double positions = phase.yarn().factor() * settings.yarn->original_max_position();
    if (!(positions <= longest_sequence)) {
      checks.add(at + ".yarn.factor", fmt::format("{}", phase.yarn().factor()),
                 fmt::format("one that makes at most {} positions", longest_sequence));
    }
  }
  if (settings.seq_len >= shortest && settings.seq_len <= settings.max_positions) return;
  checks.add(at + ".seq_len", fmt::format("{}", settings.seq_len),
             fmt::format("{} to {}, the positions of the model in this phase", shortest,
                         settings.max_positions));
}

void check_phases(const Run& run, const Model& model, Checks& checks) {
  const auto& phases = run.train().phase();
  if (phases.size() > most_phases) {
    checks.add("train.phase", fmt::format("{} phases", phases.size()),
               fmt::format("at most {}", most_phases));
    return;
  }
  const auto settings = phases_of(run, positions_of(model));
  const int32_t shortest = 2 + model.mtp_layers();
  int64_t before = 0;
  for (int i = 0; i < phases.size(); ++i) {
    const std::string at = fmt::format("train.phase[{}]", i);
    checks.in_range<int64_t>(at + ".after_steps", phases[i].after_steps(), before + 1, most_steps);
    before = std::clamp<int64_t>(phases[i].after_steps(), before, most_steps - 1);
    check_phase(phases[i], settings[static_cast<size_t>(i) + 1], at, shortest, checks);
  }
}

}  // namespace

void check_yarn(const Yarn& yarn, const std::string& at, Checks& checks) {
  if (!(yarn.factor() >= 1) || !std::isfinite(yarn.factor())) {
    checks.add(at + ".factor", fmt::format("{}", yarn.factor()), "a number of at least 1");
  }
  checks.in_range(at + ".original_max_position", yarn.original_max_position(), 1,
                  longest_sequence);
  checks.positive(at + ".beta_slow", yarn.beta_slow());
  checks.positive(at + ".beta_fast", yarn.beta_fast());
  if (yarn.beta_fast() < yarn.beta_slow()) {
    checks.add(at + ".beta_fast", fmt::format("{}", yarn.beta_fast()),
               fmt::format("at least beta_slow, {}", yarn.beta_slow()));
  }
  checks.not_negative(at + ".mscale", yarn.mscale());
  checks.not_negative(at + ".mscale_all_dim", yarn.mscale_all_dim());
  if (yarn.mscale() == 0 && yarn.mscale_all_dim() != 0) {
    checks.add(at + ".mscale", "0", "more than 0, or mscale_all_dim 0 as well");
  }
}

void check_schedule(const Run& run, const Model& model, Checks& checks) {
  const Train& train = run.train();
  check_curves(train, checks);
  check_phases(run, model, checks);
  if (!train.has_spike()) return;
  checks.in_range("train.spike.window", train.spike().window(), 2, 1 << 20);
  checks.positive("train.spike.threshold", train.spike().threshold());
}

}  // namespace troupe::config
