// What decides a run's numbers, and the pure functions of it. The plan is not here: it changes no
// bit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/proto/run.pb.h"
#include "kernels/layers/attention/mla.h"
#include "kernels/layers/ffn.h"
#include "kernels/layers/params.h"
#include "kernels/ops/optimizer.h"
#include "runtime/state/arena.h"

namespace troupe::actors {

enum class Balance : uint8_t { none, sequence, micro_batch };
enum class OnNan : uint8_t { stop, skip };

/// What holds from a step on. The first phase of a run is what its recipe says.
struct RunPhase {
  int64_t after_steps;                   ///< it begins behind this step
  int64_t sequences;                     ///< B, a micro-batch
  int64_t sequence_rows;                 ///< S, tokens a sequence
  std::optional<int64_t> micro_batches;  ///< none: the schedule's, or the recipe's
  std::optional<double> learning_rate;   ///< none: the schedule's, or the optimizer's
  std::optional<kernels::Yarn> yarn;
  int64_t max_positions;                 ///< of the model
};

/// The first phase's numbers; a schedule and further phases change them (train/timeline.h).
struct Recipe {
  kernels::ModelShape shape;
  uint64_t seed;
  int64_t steps;
  int64_t sequences;      ///< B, a micro-batch
  int64_t micro_batches;  ///< a step
  int64_t sequence_rows;  ///< S, tokens a sequence
  config::Optimizer optimizer;
  double gamma;           ///< of the routing bias
  Balance balance;
  double balance_alpha;
  double mtp_weight;      ///< lambda; each of D modules counts lambda / D
  int scale_bits;         ///< s of the sum law
  OnNan on_nan;
  kernels::Precision precision = kernels::Precision::fp32;
  kernels::Arithmetic arithmetic = kernels::Arithmetic::cpu;
  bool recompute = false;  ///< changes memory and time, no bit
  config::Schedule schedule = {};
  std::vector<RunPhase> phases = {};       ///< behind the first, by their steps
  std::optional<config::Spike> spike = {};

  int64_t moe_layers() const { return shape.moe_layers() + shape.mtp_layers; }
  bool is_scheduled() const { return schedule.ByteSizeLong() > 0 || !phases.empty(); }
  /// Whether its steps are not all of one size.
  bool varies() const { return schedule.has_micro_batches() || !phases.empty(); }
};

/// `run` has been validated; `shape` is the model's.
Recipe make_recipe(const config::Run& run, const kernels::ModelShape& shape);

/// How attention computes where positions are stretched by `yarn`; `rope`, which is of that yarn,
/// and `recipe` outlive the context.
kernels::MlaContext mla_context(const Recipe& recipe, const kernels::RopeTable& rope,
                                const std::optional<kernels::Yarn>& yarn);
/// How the dense MLP of a layer, or its experts (`is_moe`), compute.
kernels::FfnOptions ffn_options(const Recipe& recipe, bool is_moe);

/// What the recipe's state is made of.
runtime::StateFormat state_format(const Recipe& recipe);

/// Share of the new weight in its EMA, 1 - ema_decay.
float ema_rate(const Recipe& recipe);

/// Where a curve from `from` to `to` is after `part` of the way, in [0, 1): on a straight line, on
/// half a cosine, or still at `from`.
double curve_between(config::CurvePoint::Shape shape, double from, double to, double part);

/// Learning rate of step N >= 1: linear warm-up from 0 over warmup_steps, then constant, or decayed
/// to final_lr at the last step. For runs without a schedule of it.
double learning_rate(const config::Optimizer& optimizer, int64_t step, int64_t steps);

}  // namespace troupe::actors
