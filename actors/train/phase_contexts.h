#pragma once

#include <vector>

#include "actors/train/timeline.h"
#include "kernels/layers/attention/mla.h"

namespace troupe::actors {

/// How attention computes in every phase of a run.
class PhaseContexts {
 public:
  /// For queues on `device`. `recipe` and `timeline` outlive it.
  PhaseContexts(const Recipe& recipe, const Timeline& timeline,
                kernels::Device device = kernels::Device::cpu)
      : recipe_(recipe), phases_(timeline.phases()) {
    const kernels::ModelShape& s = recipe.shape;
    for (const RunPhase& phase : phases_) {
      const kernels::RopeTable table =
          kernels::rope_table(phase.sequence_rows, s.rope, s.rope_theta, phase.yarn);
      ropes_.push_back({on(device, table.cosines), on(device, table.sines)});
    }
  }

  kernels::MlaContext of(size_t phase) const {
    return mla_context(recipe_, ropes_[phase], phases_[phase].yarn);
  }

 private:
  static kernels::Buffer on(kernels::Device device, const kernels::Buffer& host) {
    if (device == kernels::Device::cpu) return host;
    kernels::Buffer copy =
        kernels::allocate(device, host.view.dtype, {host.view.rows(), host.view.cols()});
    kernels::copy_now(host, copy);
    return copy;
  }

  const Recipe& recipe_;
  const std::vector<RunPhase>& phases_;
  std::vector<kernels::RopeTable> ropes_;
};

}  // namespace troupe::actors
