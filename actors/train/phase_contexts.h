#pragma once

#include <vector>

#include "actors/train/timeline.h"
#include "kernels/layers/mla.h"

namespace troupe::actors {

/// Rotary tables and softmax scale of every phase of a run.
class PhaseContexts {
 public:
  /// `recipe` outlives it.
  PhaseContexts(const Recipe& recipe, const Timeline& timeline) : recipe_(recipe) {
    const kernels::ModelShape& s = recipe.shape;
    for (const RunPhase& phase : timeline.phases()) {
      ropes_.push_back(kernels::rope_table(phase.sequence_rows, s.rope, s.rope_theta, phase.yarn));
      scales_.push_back(kernels::softmax_scale(s.query_width(), phase.yarn));
    }
  }

  kernels::MlaContext of(size_t phase) const {
    kernels::MlaContext context = mla_context(recipe_, ropes_[phase]);
    context.scale = scales_[phase];
    return context;
  }

 private:
  const Recipe& recipe_;
  std::vector<kernels::RopeTable> ropes_;
  std::vector<float> scales_;
};

}  // namespace troupe::actors
