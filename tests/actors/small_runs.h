// Small recipes of so many layers, and the steps that they learn from.
#pragma once

#include "actors/company.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {

/// One dense layer, the others with experts.
inline actors::Recipe recipe_of(int64_t layers, int64_t micro_batches, int64_t steps = 3) {
  actors::Recipe recipe = small_recipe();
  recipe.shape.layers = layers;
  recipe.shape.dense_layers = 1;
  recipe.micro_batches = micro_batches;
  recipe.steps = steps;
  return recipe;
}

inline actors::BatchSource learnable(const actors::Recipe& recipe) {
  return [recipe](uint64_t step) { return learnable_batches(recipe, step); };
}

}  // namespace troupe::tests
