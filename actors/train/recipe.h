// What decides a run's numbers, and the pure functions of it. The plan is not here: it changes no
// bit.
#pragma once

#include <cstdint>
#include <vector>

#include "config/proto/run.pb.h"
#include "kernels/layers/ffn.h"
#include "kernels/layers/mla.h"
#include "kernels/layers/params.h"
#include "kernels/optimizer.h"

namespace troupe::actors {

enum class Balance : uint8_t { none, sequence, micro_batch };
enum class OnNan : uint8_t { stop, skip };

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
  bool recompute = false;  ///< changes memory and time, no bit

  int64_t rows() const { return sequences * sequence_rows; }
  int64_t tokens_per_step() const { return rows() * micro_batches; }
  int64_t moe_layers() const { return shape.moe_layers() + shape.mtp_layers; }
  /// How often a step adds a unit to a tensor of one site, to embedding and head (shared by MTP).
  int64_t units() const { return micro_batches; }
  int64_t shared_units() const { return micro_batches * (1 + shape.mtp_layers); }
  /// How many units the step's balance loss is the sum of.
  int64_t balance_units() const { return micro_batches * moe_layers(); }
};

/// `run` has been validated; `shape` is the model's.
Recipe make_recipe(const config::Run& run, const kernels::ModelShape& shape);

/// How attention computes; `rope` and `recipe` outlive the context.
kernels::MlaContext mla_context(const Recipe& recipe, const kernels::RopeTable& rope);
/// How the dense MLP of a layer, or its experts (`is_moe`), compute.
kernels::FfnOptions ffn_options(const Recipe& recipe, bool is_moe);

/// Learning rate of step N >= 1: linear warm-up from 0 over warmup_steps, then constant, or decayed
/// to final_lr at the last step.
double learning_rate(const config::Optimizer& optimizer, int64_t step, int64_t steps);

}  // namespace troupe::actors
