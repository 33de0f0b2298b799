#include "actors/train/recipe.h"

#include <algorithm>

#include "config/phases.h"
#include "kernels/math/scalar_math.h"
#include "runtime/model_shape.h"

namespace troupe::actors {
namespace {

Balance balance_of(config::Routing::Balance balance) {
  switch (balance) {
    case config::Routing::NONE:
      return Balance::none;
    case config::Routing::MICRO_BATCH:
      return Balance::micro_batch;
    default:
      return Balance::sequence;
  }
}

kernels::Precision precision_of(const config::Train& train) {
  switch (train.precision()) {
    case config::Train::BF16:
      return kernels::Precision::bf16;
    case config::Train::FP8:
      return train.promotion() == config::Train::NEVER ? kernels::Precision::fp8_unpromoted
                                                       : kernels::Precision::fp8;
    default:
      return kernels::Precision::fp32;
  }
}

/// What a run computes in that does not say it: the GPU's own where that is faster.
kernels::Arithmetic arithmetic_of(const config::Run& run) {
  const bool is_on_gpu = run.cluster().device() == config::Cluster::CUDA;
  switch (run.train().arithmetic()) {
    case config::Train::SM_90A:
      return kernels::Arithmetic::sm_90a;
    case config::Train::CPU:
      return kernels::Arithmetic::cpu;
    default:
      return is_on_gpu && run.train().precision() != config::Train::FP32
                 ? kernels::Arithmetic::sm_90a
                 : kernels::Arithmetic::cpu;
  }
}

std::vector<RunPhase> later_phases(const config::Run& run, const kernels::ModelShape& shape) {
  const auto max = static_cast<int32_t>(shape.max_positions);
  const auto original =
      shape.yarn ? static_cast<int32_t>(shape.yarn->original_positions) : max;
  const auto settings = config::phases_of(run, {max, original});
  std::vector<RunPhase> phases;
  for (size_t i = 1; i < settings.size(); ++i) {
    const config::PhaseSettings& s = settings[i];
    phases.push_back({.after_steps = s.after_steps,
                      .sequences = s.micro_batch,
                      .sequence_rows = s.seq_len,
                      .micro_batches = s.micro_batches,
                      .learning_rate = s.learning_rate,
                      .yarn = s.yarn ? std::optional(runtime::kernel_yarn(*s.yarn)) : shape.yarn,
                      .max_positions = s.max_positions});
  }
  return phases;
}

}  // namespace

Recipe make_recipe(const config::Run& run, const kernels::ModelShape& shape) {
  const config::Train& train = run.train();
  return {.shape = shape,
          .seed = train.seed(),
          .steps = train.steps(),
          .sequences = train.micro_batch(),
          .micro_batches = train.micro_batches(),
          .sequence_rows = run.data().seq_len(),
          .optimizer = train.optimizer(),
          .gamma = train.routing().gamma(),
          .balance = balance_of(train.routing().balance()),
          .balance_alpha = train.routing().balance_alpha(),
          .mtp_weight = train.mtp_weight(),
          .scale_bits = train.fixed_point_bits(),
          .on_nan = train.on_nan() == config::Train::SKIP ? OnNan::skip : OnNan::stop,
          .precision = precision_of(train),
          .arithmetic = arithmetic_of(run),
          .recompute = train.recompute(),
          .schedule = train.schedule(),
          .phases = later_phases(run, shape),
          .spike = train.has_spike() ? std::optional(train.spike()) : std::nullopt};
}

kernels::MlaContext mla_context(const Recipe& recipe, const kernels::RopeTable& rope,
                                const std::optional<kernels::Yarn>& yarn) {
  return {.shape = &recipe.shape,
          .rope = &rope,
          .scale = kernels::softmax_scale(recipe.shape.query_width(), yarn),
          .precision = recipe.precision,
          .recompute = recipe.recompute};
}

kernels::FfnOptions ffn_options(const Recipe& recipe, bool is_moe) {
  return {.precision = recipe.precision, .is_moe = is_moe, .recompute = recipe.recompute};
}

runtime::StateFormat state_format(const Recipe& recipe) {
  const bool is_bf16 = recipe.optimizer.moments() == config::Optimizer::BF16;
  return {.moments = is_bf16 ? kernels::DType::bf16 : kernels::DType::f32,
          .has_ema = recipe.optimizer.ema_decay() > 0};
}

float ema_rate(const Recipe& recipe) {
  return static_cast<float>(1.0 - recipe.optimizer.ema_decay());
}

double curve_between(config::CurvePoint::Shape shape, double from, double to, double part) {
  constexpr double pi = 3.14159265358979323846;
  switch (shape) {
    case config::CurvePoint::LINEAR:
      return from + (to - from) * part;
    case config::CurvePoint::COSINE:
      return to + (from - to) * 0.5 * (1.0 + kernels::cos_exact(pi * part));
    default:
      return from;
  }
}

double learning_rate(const config::Optimizer& optimizer, int64_t step, int64_t steps) {
  const int64_t warmup = optimizer.warmup_steps();
  const double peak = optimizer.lr(), last = optimizer.final_lr();
  if (step < warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
  if (optimizer.decay() == config::Optimizer::CONSTANT || steps <= warmup) return peak;
  const double part = std::clamp(
      static_cast<double>(step - warmup) / static_cast<double>(steps - warmup), 0.0, 1.0);
  const bool is_line = optimizer.decay() == config::Optimizer::LINEAR;
  return curve_between(is_line ? config::CurvePoint::LINEAR : config::CurvePoint::COSINE, peak,
                       last, part);
}

}  // namespace troupe::actors
