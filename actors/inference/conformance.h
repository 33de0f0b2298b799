// A model held against a reference case: what another implementation computed from the same
// weights and tokens.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kernels/queue.h"

namespace troupe::actors {

/// One comparison. For gradients the difference is relative to the tensor's largest value; for ids
/// and tokens it is how many differ.
struct ConformanceCheck {
  std::string name;   ///< "logits", "grad.model.norm.weight", ...
  double difference;  ///< the largest
  double limit;
  bool passed() const { return difference <= limit; }  // NaN fails
};

struct ConformanceReport {
  std::vector<ConformanceCheck> checks;
  std::vector<std::string> notes;
  bool passed() const;
};

/// `folder` holds a Hugging Face model and expected.safetensors: `tokens` [B, T] and any of
/// `logits`, `hidden`, `loss`, `router.N.indices|weights`, `grad.NAME`, `mtp.logits`, `mtp.loss`,
/// `mtp.grad.NAME` (of loss + 0.3 mtp.loss), `greedy` (what greedy decoding appends to
/// tokens[0, :8]), `adamw.losses|grad_norms` (steps of the main model on this one batch: lr 1e-3,
/// betas 0.9 and 0.95, eps 1e-8, weight decay 0.1 on matrices, clip 1.0, the routing bias fixed).
/// Tensors under other names are an error. Throws CheckpointError.
ConformanceReport conform(const std::filesystem::path& folder, kernels::Queue& queue);

}  // namespace troupe::actors
