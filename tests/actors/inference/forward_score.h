// A small model and documents, scored in both ways.
#pragma once

#include <vector>

#include "actors/inference/forward_scorer.h"
#include "actors/train/phase_contexts.h"
#include "tests/actors/train/small_recipe.h"

namespace troupe::tests {

struct ScoredModel {
  explicit ScoredModel(kernels::Precision precision, int64_t sequence_rows = 8) : arena(kernels::parameters(small_recipe().shape)) {
    recipe.precision = precision;
    recipe.sequence_rows = sequence_rows;
    recipe.shape.max_positions = std::max(recipe.shape.max_positions, sequence_rows);
    runtime::initialise(arena, 3, 0.4f);
    for (const size_t tokens : {9u, 1u, 5u, 30u, 13u, 2u, 150u, 70u}) {
      runtime::HeldOutDocument& document = documents.emplace_back();
      document.text_bytes = 3 * tokens;
      for (uint64_t i = 0; i < tokens; ++i) {
        const kernels::RandomKey key{1, kernels::Purpose::test, static_cast<uint32_t>(documents.size()), i};
        document.tokens.push_back(static_cast<int32_t>(kernels::random_below(key, 23)));
      }
    }
  }

  std::vector<actors::Score> score_by_decoder() {
    actors::Decoder decoder({.arena = arena, .recipe = recipe, .routing_bias = bias, .queue = queue,
                             .form = kernels::AttentionForm::expanded, .state = 0, .page_rows = 8});
    return actors::score_documents({.decoder = decoder, .queue = queue, .documents = documents,
                                    .context = recipe.sequence_rows, .progress = {}});
  }

  /// The first shard has so many experts, another the rest; 0: there is one shard.
  std::vector<actors::Score> score_by_forward(kernels::Device device, int of_first_shard = 0) {
    const int all = static_cast<int>(recipe.shape.experts);
    std::vector<config::ExpertRange> experts = {{of_first_shard, all - of_first_shard}};
    if (of_first_shard > 0) experts.insert(experts.begin(), {0, of_first_shard});
    const actors::Timeline timeline(recipe);
    const actors::PhaseContexts contexts(recipe, timeline, device);
    kernels::Queue its(queue, device, recipe.arithmetic);
    const actors::ModelTensors tensors(arena, recipe, device);
    const runtime::UnitEpoch attempt{.term = 1, .n = ++attempts, .step = 1};
    return actors::score_by_forward({.queue = its, .tensors = tensors, .recipe = recipe, .context = contexts.of(0),
                                     .experts = experts, .routing_bias = bias,
                                     .view = {.state = 0, .scale_bits = 0, .epoch = attempt},
                                     .documents = documents, .sequence_rows = recipe.sequence_rows,
                                     .rows_at_once = rows_at_once, .layer_done = [this] { ++layers_done; }});
  }

  actors::Recipe recipe = small_recipe();
  runtime::StateArena arena;
  const std::vector<float> bias = std::vector<float>(8, 0.0f);
  std::vector<runtime::HeldOutDocument> documents;
  uint64_t attempts = 0;
  int64_t rows_at_once = 64;
  int layers_done = 0;
  kernels::ThreadPool pool{2};
  kernels::Queue queue{pool};
};

}  // namespace troupe::tests
