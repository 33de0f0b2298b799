// A recipe in which everything varies that may.
#pragma once

#include "actors/train/timeline.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {

inline void go_to(config::Curve& curve, double tokens, double value,
                  config::CurvePoint::Shape shape) {
  config::CurvePoint& point = *curve.add_to();
  point.set_tokens(tokens);
  point.set_value(value);
  point.set_shape(shape);
}

/// Ten steps: 1 to 4 with 2 to 5 micro-batches of 2 sequences of 8 tokens, from step 5 on YaRN and
/// sequences of 16, from step 8 on of 24.
inline actors::Recipe varied_recipe() {
  actors::Recipe recipe = small_recipe();
  recipe.steps = 10;
  config::Schedule& schedule = recipe.schedule;
  schedule.mutable_micro_batches()->set_start(2);
  go_to(*schedule.mutable_micro_batches(), 144, 5, config::CurvePoint::LINEAR);
  schedule.mutable_learning_rate()->set_start(3e-3);
  go_to(*schedule.mutable_learning_rate(), 400, 2e-3, config::CurvePoint::COSINE);
  schedule.mutable_gamma()->set_start(1e-2);
  go_to(*schedule.mutable_gamma(), 200, 0, config::CurvePoint::CONSTANT);
  schedule.mutable_mtp_weight()->set_start(0.3);
  go_to(*schedule.mutable_mtp_weight(), 300, 0.1, config::CurvePoint::LINEAR);
  kernels::Yarn yarn = small_yarn();
  recipe.phases.push_back({.after_steps = 4, .sequences = 2, .sequence_rows = 16,
                           .micro_batches = {}, .learning_rate = 1e-3, .yarn = yarn,
                           .max_positions = 256});
  yarn.factor = 16;
  recipe.phases.push_back({.after_steps = 7, .sequences = 1, .sequence_rows = 24,
                           .micro_batches = 3, .learning_rate = 1e-3, .yarn = yarn,
                           .max_positions = 512});
  return recipe;
}

/// The micro-batches of a step of a recipe that varies.
inline std::vector<actors::MicroBatch> varied_batches(const actors::Recipe& recipe, uint64_t step) {
  const actors::StepNumbers numbers = actors::Timeline(recipe).at(step);
  actors::Recipe now = recipe;
  now.sequences = numbers.sequences;
  now.micro_batches = numbers.micro_batches;
  now.sequence_rows = numbers.sequence_rows;
  return learnable_batches(now, step);
}

}  // namespace troupe::tests
