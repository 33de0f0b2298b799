// In which numbers rows travel between routers and experts, by precision. They are rounded so wherever
// the experts are, so who holds them shows in no bit (law 2).
// Source: DeepSeek-V3 report, arXiv:2412.19437, section 3.3.3: dispatch in FP8 with scales that are
// powers of two, forward and of the gradient before the down-projection; combine in BF16 both ways.
#pragma once

#include <vector>

#include "kernels/layers/linear.h"

namespace troupe::kernels {

/// What is dispatched: activations, or gradients in backward.
enum class Dispatched : uint8_t { activations, gradients };

/// Rows as experts take them: FP32 as they are, BF16 to the nearest, FP8 to E4M3 in tiles of 1 x 128.
/// By the router, before it hands them out; rows that were rounded stay what they are. The answer
/// may be x itself; on tensor cores it is bf16.
ConstTensor round_dispatched(Queue& queue, Scratch& scratch, Precision precision, Dispatched what,
                             const ConstTensor& x);

/// The same for another process: tensors that hold those numbers in few bytes, in FP32 x itself.
std::vector<Tensor> pack_dispatched(Queue& queue, Scratch& scratch, Precision precision,
                                    Dispatched what, const Tensor& x);
/// How many tensors that are.
size_t tensors_of_dispatched(Precision precision);
/// Bytes of one row of D numbers.
int64_t bytes_of_dispatched(Precision precision, int64_t D);
/// Whether what travels is what experts read: FP32, and BF16 where tensor cores do.
bool travels_as_it_is(const Queue& queue, Precision precision);
/// And back, where it is not: [R, D] f32, on tensor cores bf16.
Tensor unpack_dispatched(Queue& queue, Scratch& scratch, Precision precision,
                         const std::vector<ConstTensor>& packed);

/// Sums of routing groups, which combine_rows has rounded: BF16 unless everything is FP32.
Tensor pack_sums(Queue& queue, Scratch& scratch, Precision precision, const Tensor& sums);
ConstTensor unpack_sums(Queue& queue, Scratch& scratch, Precision precision,
                        const ConstTensor& packed);

}  // namespace troupe::kernels
