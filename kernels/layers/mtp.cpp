#include "kernels/layers/mtp.h"

#include "kernels/ops/embedding.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/permute.h"

namespace troupe::kernels {

MtpSaved mtp_forward(Queue& queue, Scratch& scratch, const MtpArgs& args, const Tensor& y) {
  const int64_t D = args.h.cols(), sequences = args.h.rows() / args.rows, kept = args.rows - 1;
  const int64_t T = sequences * kept;
  const MtpSaved saved{scratch.f32({T, D}), scratch.f32({T}), scratch.f32({T, D}),
                       scratch.f32({T}), scratch.f32({T, 2 * D})};
  const Tensor index = scratch.i32({T});
  for (int64_t i = 0; i < T; ++i) {
    values<int32_t>(index)[i] = static_cast<int32_t>(i / kept * args.rows + i % kept);
  }
  embed(queue, {.ids = args.ids, .weight = args.weights.embedding, .y = saved.embedded});
  rms_norm(queue, {.x = saved.embedded, .weight = args.weights.enorm, .eps = args.rms_eps,
                   .y = columns(saved.joined, 0, D), .inverse_rms = saved.e_inverse_rms});
  gather_rows(queue, {.x = args.h, .index = index, .y = saved.h_rows});
  rms_norm(queue, {.x = saved.h_rows, .weight = args.weights.hnorm, .eps = args.rms_eps,
                   .y = columns(saved.joined, D, D), .inverse_rms = saved.h_inverse_rms});
  linear_forward(queue, {.precision = args.precision, .scales = Scales::any, .x = saved.joined,
                         .weight = args.weights.eh_proj, .y = y});
  return saved;
}

MtpDeltas mtp_backward_inputs(Queue& queue, Scratch& scratch, const MtpArgs& args,
                              const MtpSaved& saved, const ConstTensor& dy, const Tensor& dh) {
  const int64_t D = args.h.cols(), kept = args.rows - 1, T = dy.rows();
  const MtpDeltas deltas{scratch.f32({T, 2 * D}), scratch.f32({T, D})};
  linear_backward_inputs(queue, {.precision = args.precision, .dy = dy,
                                 .weight = args.weights.eh_proj, .dx = deltas.djoined,
                                 .add_to_dx = false});
  rms_norm_backward_inputs(queue, {.dy = columns(deltas.djoined, 0, D), .x = saved.embedded,
                                   .weight = args.weights.enorm,
                                   .inverse_rms = saved.e_inverse_rms, .dx = deltas.dembedded});
  // One more row, of zeros: where the last row of a sequence takes its gradient from.
  const Tensor rows = scratch.f32({T + 1, D});
  set_zero(queue, {.y = row_range(rows, T, 1)});
  rms_norm_backward_inputs(queue, {.dy = columns(deltas.djoined, D, D), .x = saved.h_rows,
                                   .weight = args.weights.hnorm,
                                   .inverse_rms = saved.h_inverse_rms,
                                   .dx = row_range(rows, 0, T)});
  const Tensor index = scratch.i32({dh.rows()});
  for (int64_t i = 0; i < dh.rows(); ++i) {
    const int64_t in_sequence = i % args.rows;
    values<int32_t>(index)[i] =
        static_cast<int32_t>(in_sequence == kept ? T : i / args.rows * kept + in_sequence);
  }
  gather_rows(queue, {.x = rows, .index = index, .y = dh});
  return deltas;
}

void mtp_backward_weights(Queue& queue, Scratch& scratch, const MtpArgs& args,
                          const MtpSaved& saved, const ConstTensor& dy, const MtpDeltas& deltas,
                          const MtpGradients& gradients) {
  const int64_t D = args.h.cols();
  const auto norm = [&](const ConstTensor& grad, const ConstTensor& x, const ConstTensor& inverse,
                        const GradientSum& into) {
    if (!into.is_wanted()) return;
    const Tensor unit = scratch.f32({D});
    rms_norm_backward_weights(queue, {.dy = grad, .x = x, .inverse_rms = inverse,
                                      .dweight = unit});
    add_unit(queue, into, unit);
  };
  linear_backward_weights(queue, scratch, {.precision = args.precision, .scales = Scales::any,
                                           .dy = dy, .x = saved.joined,
                                           .into = gradients.eh_proj});
  norm(columns(deltas.djoined, 0, D), saved.embedded, saved.e_inverse_rms, gradients.enorm);
  norm(columns(deltas.djoined, D, D), saved.h_rows, saved.h_inverse_rms, gradients.hnorm);
  if (gradients.embedding.is_wanted()) {
    const Tensor unit = scratch.f32({args.weights.embedding.rows(), D});
    embed_backward_weights(queue, {.ids = args.ids, .dy = deltas.dembedded, .dweight = unit});
    add_unit(queue, gradients.embedding, unit);
  }
}

}  // namespace troupe::kernels
