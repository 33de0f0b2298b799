// The input of a multi-token-prediction module: report equations 21 to 23. Module m reads the
// hidden rows of the module before it (of the main model, after its final norm, for m = 0) and the
// embeddings of the tokens one further ahead.
#pragma once

#include "kernels/layers/linear.h"
#include "kernels/layers/params.h"

namespace troupe::kernels {

template <class Tensor>
struct MtpTensors {
  Tensor embedding;  ///< [V, D], shared with the main model: a site of its own
  Tensor enorm;      ///< [D]
  Tensor hnorm;      ///< [D]
  Tensor eh_proj;    ///< [D, 2 D]: columns of the embedding first, as in the released weights
};
using MtpWeights = MtpTensors<ConstTensor>;
using MtpGradients = MtpTensors<GradientSum>;

/// B sequences; `rows` hidden rows each in h, of which the last has no token ahead.
struct MtpArgs {
  Precision precision = Precision::fp32;
  float rms_eps;
  MtpWeights weights;
  ConstTensor h;    ///< [B * rows, D]
  ConstTensor ids;  ///< [B * (rows - 1)] i32: for row i of a sequence the token at i + 1 + depth
  int64_t rows;
};

struct MtpSaved {
  Tensor embedded, e_inverse_rms, h_rows, h_inverse_rms;  // before the norms, [B * (rows - 1), D]
  Tensor joined;                                          // [B * (rows - 1), 2 D]
};

/// y = eh_proj [enorm(embedding(ids)); hnorm(h)], [B * (rows - 1), D].
MtpSaved mtp_forward(Queue& queue, Scratch& scratch, const MtpArgs& args, const Tensor& y);

struct MtpDeltas {
  Tensor djoined, dembedded;  // [.., 2 D], [.., D]
};

/// dh is [B * rows, D]: zero in each sequence's last row.
MtpDeltas mtp_backward_inputs(Queue& queue, Scratch& scratch, const MtpArgs& args,
                              const MtpSaved& saved, const ConstTensor& dy, const Tensor& dh);
void mtp_backward_weights(Queue& queue, Scratch& scratch, const MtpArgs& args,
                          const MtpSaved& saved, const ConstTensor& dy, const MtpDeltas& deltas,
                          const MtpGradients& gradients);

}  // namespace troupe::kernels
