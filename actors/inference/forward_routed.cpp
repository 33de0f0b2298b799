#include "actors/inference/forward_routed.h"

#include <algorithm>

#include "actors/model/routed_block.h"
#include "kernels/layers/moe/expert.h"

namespace troupe::actors {

using kernels::Tensor;

Tensor forward_routed(kernels::Queue& queue, kernels::Scratch& scratch, const RoutedForward& args) {
  const Recipe& recipe = args.recipe;
  const int64_t E = recipe.shape.experts;
  const int64_t moe_layer = args.layer - recipe.shape.dense_layers;
  const Tensor bias = scratch.shared(kernels::DType::f32, {E});
  std::copy_n(args.routing_bias.data() + moe_layer * E, E, kernels::values<float>(bias));
  RoutedBlock block(args.tensors, recipe, args.layer, args.view, ExpertHolders::one(E));
  const Drained drained{queue};
  block.choose(queue, scratch, args.normed, bias);
  queue.wait();
  const DispatchedRows part = block.dispatch(queue, scratch).here.at(0);
  kernels::ExpertsArgs experts{ffn_options(recipe, true), {}, part.offsets, part.rows, part.index};
  for (const config::ExpertRange& range : args.experts) {
    for (kernels::FfnWeights& one : args.tensors.experts(args.layer, range.first, range.count, args.view)) {
      experts.weights.push_back(std::move(one));
    }
  }
  const kernels::ExpertsSaved saved = kernels::experts_forward(queue, scratch, experts);
  const Tensor y = block.combine(queue, scratch, {{saved.y, {}, {}}});
  queue.wait();  // the plan of the dispatch ends with this block
  return y;
}

}  // namespace troupe::actors
