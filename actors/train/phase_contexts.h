#pragma once

#include <vector>

#include "actors/train/timeline.h"
#include "kernels/layers/mla.h"

namespace troupe::actors {

/// How attention computes in every phase of a run.
class PhaseContexts {
 public:
  /// `recipe` and `timeline` outlive it.
  PhaseContexts(const Recipe& recipe, const Timeline& timeline)
      : recipe_(recipe), phases_(timeline.phases()) {
    const kernels::ModelShape& s = recipe.shape;
    for (const RunPhase& phase : phases_) {
      ropes_.push_back(kernels::rope_table(phase.sequence_rows, s.rope, s.rope_theta, phase.yarn));
    }
  }

  kernels::MlaContext of(size_t phase) const {
    return mla_context(recipe_, ropes_[phase], phases_[phase].yarn);
  }

 private:
  const Recipe& recipe_;
  const std::vector<RunPhase>& phases_;
  std::vector<kernels::RopeTable> ropes_;
};

}  // namespace troupe::actors
