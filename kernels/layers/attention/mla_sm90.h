// MLA of whole sequences on tensor cores: everything between the projections is bf16, keys and
// values of a head stay where their projection puts them. Internal to mla.cpp.
#pragma once

#include "kernels/layers/attention/mla.h"

namespace troupe::kernels::mla {

/// Whether a layer is computed so: in the arithmetic sm_90a, with the heads of DeepSeek-V3.
bool is_of_tensor_cores(const Queue& queue, const MlaContext& context);

/// As mla_forward. Of `up`, k is [T, H * (nope + v_head)], the output of kv_b, and v nothing;
/// log_sums are [H, T].
MlaSaved forward_on_tensor_cores(Queue& queue, Scratch& scratch, const MlaForwardArgs& args);

/// As mla_backward_inputs.
MlaDeltas backward_inputs_on_tensor_cores(Queue& queue, Scratch& scratch,
                                          const MlaBackwardArgs& args, MlaSaved& saved);

/// Of mla_backward_weights the matrices, where the deltas are codes.
void backward_weights_in_codes(Queue& queue, const MlaBackwardArgs& args, const MlaSaved& saved,
                               const MlaDeltas& deltas, const MlaGradients& gradients);

}  // namespace troupe::kernels::mla
